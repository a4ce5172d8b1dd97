-- shop.lua - the application of tests/resty: an order and its event in one transaction.
local shop = {}

local folder = os.getenv("OUTTRAY_TEST_PGMOON")
if folder then
    package.path = folder .. "/?.lua;" .. folder .. "/?/init.lua;" .. package.path
end
local pgmoon = require(folder and "pgmoon" or "pgclient")
local resty = require "resty.outtray"

local outboxes = {
    c = resty.new {builder = "c"}, lua = resty.new {builder = "lua"},
}

local function connect()
    local pg = pgmoon.new(shop.config)
    pg:settimeout(10000)
    local fine, why = pg:connect()
    if not fine then
        ngx.log(ngx.WARN, "connect: ", why)
        ngx.exit(503)
    end
    return pg
end

local function answer(status, body)
    ngx.status = status
    ngx.say(body)
end

-- What becomes of the order n is in the arguments: how = fine, refused, raised, failed,
-- exit, or die (with the worker).
function shop.order()
    local args = ngx.req.get_uri_args()
    local outbox = outboxes[args.builder or "c"]
    local pg = connect()
    local fine, id, message, code = pcall(outbox.transaction, outbox, pg, function(tx)
        local done, why = tx:query("INSERT INTO orders VALUES (" .. args.n .. ")")
        if not done then
            return nil, why, "ORDER"
        end
        local id, message, code = tx:enqueue {
            topic = args.how == "refused" and "" or "orders.created",
            key = args.n, payload = {n = tonumber(args.n)},
        }
        if args.how == "raised" then
            error("mine")
        elseif args.how == "failed" then
            tx:query("SELECT 1/0")
        elseif args.how == "exit" then
            ngx.exit(418)
        elseif args.how == "slow" then
            ngx.sleep(tonumber(args.seconds or 0.2))
        end
        return id, message, code
    end)
    if not fine then
        return answer(500, tostring(id))
    elseif not id then
        return answer(409, tostring(code) .. ": " .. tostring(message))
    end
    return answer(201, id)
end

-- Without the helper: the transaction of the request itself.
function shop.by_hand()
    local n = ngx.var.arg_n
    local pg = connect()
    assert(pg:query("BEGIN"))
    assert(pg:query("INSERT INTO orders VALUES (" .. n .. ")"))
    local id, message, code =
        outboxes.c:enqueue(pg, {topic = "orders.created", key = n})
    assert(pg:query(ngx.var.arg_how == "rollback" and "ROLLBACK" or "COMMIT"))
    local alone, why, name = outboxes.c:enqueue(pg, {topic = "alone"})
    pg:keepalive()
    answer(id and 201 or 409, table.concat({tostring(id), tostring(message),
        tostring(code), tostring(alone), tostring(why), tostring(name)}, "\n"))
end

function shop.pool()
    local fine, message = pcall(outboxes.c.enqueue, outboxes.c,
        {_get_connection = print, simple_query = print}, {topic = "t"})
    answer(fine and 200 or 500, message)
end

-- Remember what enqueue says in a phase; in one with cosockets it is tried for real.
function shop.tell(phase, topic)
    local id, message, code
    if topic == "t" then
        id, message, code = outboxes.c:enqueue({}, {topic = topic})
        local built = outboxes.c:build({topic = topic}, "postgresql")
        assert(built:find("INSERT", 1, true))
    else
        id, message, code = outboxes.c:transaction(connect(), function(tx)
            return tx:enqueue {topic = topic}
        end)
    end
    ngx.shared.told:set(phase, id and "written" or code .. ": " .. message)
    return "x"
end

return shop
