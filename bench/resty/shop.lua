-- shop.lua - what a request of the benchmark does: an order, and an event of it with
-- outtray, by hand, or not at all.
local folder = os.getenv("OUTTRAY_TEST_PGMOON")
if folder then
    package.path = folder .. "/?.lua;" .. folder .. "/?/init.lua;" .. package.path
end
local pgmoon = require(folder and "pgmoon" or "pgclient")
local outbox = require("resty.outtray").new()

local shop = {}
local ORDER = "INSERT INTO orders (customer) VALUES (7)"
local PAYLOAD = ("0123456789abcdef"):rep(13):sub(1, 200)

local function connect()
    local pg = pgmoon.new(shop.config)
    assert(pg:connect())
    return pg
end

function shop.enqueue()
    local id, message = outbox:transaction(connect(), function(tx)
        assert(tx:query(ORDER))
        return tx:enqueue {
            topic = "orders", key = "k7", type = "order.created",
            payload = PAYLOAD,
        }
    end)
    assert(id, message)
    ngx.say(id)
end

-- As pgmoon writes it.
local function literal(s)
    return "'" .. s:gsub("'", "''") .. "'"
end

local function transaction(statement)
    local pg = connect()
    assert(pg:query("BEGIN"))
    assert(pg:query(ORDER))
    if statement then
        assert(pg:query(statement))
    end
    assert(pg:query("COMMIT"))
    pg:keepalive()
    ngx.say("done")
end

function shop.by_hand()
    return transaction("INSERT INTO outtray.event (id, topic, key, type, payload) "
        .. "VALUES (gen_random_uuid(), " .. literal("orders") .. ", "
        .. literal("k7") .. ", " .. literal("order.created") .. ", convert_to("
        .. literal(PAYLOAD) .. ", 'UTF8'))")
end

function shop.alone()
    return transaction()
end

return shop
