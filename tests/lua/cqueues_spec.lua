-- pgmoon on sockets of cqueues: many transactions in one thread.
local databases = require "databases"
local outtray = require "outtray"
local cqueues = require "cqueues"

describe("pgmoon inside cqueues", function()
    local outbox = outtray.outbox()
    local opened

    local function connect()
        local config = databases.pg_config {socket_type = "cqueues"}
        local pg = databases.pgmoon.new(config)
        assert(pg:connect())
        opened[#opened + 1] = pg
        return pg
    end

    -- Runs each function in a coroutine of its own until all have ended.
    local function run(...)
        local loop = cqueues.new()
        for _, work in ipairs {...} do
            loop:wrap(work)
        end
        assert(loop:loop(240))
        assert.is_true(loop:empty())
    end

    before_each(function()
        databases.empty()
        opened = {}
    end)

    after_each(function()
        run(function()
            for _, pg in ipairs(opened) do
                pcall(pg.disconnect, pg)
            end
        end)
    end)

    it("writes events of transactions that go on side by side", function()
        local open, most, ids = 0, 0, {}
        local function order(n)
            return function()
                local id, message = outbox:transaction(connect(), function(tx)
                    open = open + 1
                    most = math.max(most, open)
                    -- The others are let in while this one waits.
                    repeat
                        assert(tx:query("SELECT pg_sleep(0.01)"))
                    until most == 3
                    open = open - 1
                    return tx:enqueue {topic = "orders", key = tostring(n)}
                end)
                ids[n] = assert(id, message)
            end
        end
        run(order(1), order(2), order(3))
        assert.equal(3, #ids)
        assert.equal(3, databases.count(false))
    end)

    it("rolls back, and says why an event was refused", function()
        run(function()
            local pg = connect()
            assert.error_matches(function()
                outbox:transaction(pg, function(tx)
                    assert(tx:enqueue {topic = "orders"})
                    error("mine")
                end)
            end, "mine")
            local id, _, code = outbox:enqueue(pg, {topic = "orders"})
            assert.same({nil, "NOT_IN_TRANSACTION"}, {id, code})
        end)
        assert.equal(0, databases.count(false))
    end)

    it("takes no call while another coroutine is in one", function()
        local pg, message
        run(function()
            pg = connect()
            assert(pg:query("BEGIN"))
            assert(pg:query("SELECT pg_sleep(0.5)"))
            assert(outbox:enqueue(pg, {topic = "orders"}))
            assert(pg:query("COMMIT"))
        end, function()
            repeat
                cqueues.sleep(0.01)
            until pg and pg.busy
            local fine, why = pcall(outbox.enqueue, outbox, pg, {topic = "orders"})
            message = not fine and why
        end)
        assert.matches("busy", message)
        assert.equal(1, databases.count(false))
    end)

    it("names a connection that is gone", function()
        run(function()
            local pg = connect()
            assert(pg:query("BEGIN"))
            local killer = connect()
            local rows = assert(pg:query("SELECT pg_backend_pid() AS pid"))
            assert(killer:query("SELECT pg_terminate_backend(" .. rows[1].pid .. ")"))
            local id, _, code = outbox:enqueue(pg, {topic = "orders"})
            assert.is_nil(id)
            assert.is_true(code == "STORE_UNAVAILABLE" or code == "CONNECTION_CLOSED",
                code)
        end)
        assert.equal(0, databases.count(false))
    end)
end)
