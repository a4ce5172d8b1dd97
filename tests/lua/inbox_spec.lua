-- inbox:once on a connection of every driver: a consumer handles an event once.
local databases = require "databases"
local outtray = require "outtray"

local ID = "01912d68-783e-7a03-8467-5661c1240001"
local OTHER = "01912d68-783e-7a03-8467-5661c1240002"
local AWKWARD = [[it's "a" \ ? $1 %s :x {b} é 🎉]]

local function refused(name, pattern, first, message, code)
    assert.is_nil(first)
    assert.matches(pattern, message)
    assert.equal(name, code)
end

for driver, database in pairs(databases.drivers) do
    describe(driver, function()
        local inbox = outtray.inbox()
        local conn, exec

        before_each(function()
            conn, exec = database.connect()
            exec("DELETE FROM "
                .. (database.sqlite and "outtray_inbox" or "outtray.inbox"))
        end)

        after_each(function()
            pcall(function()
                (conn.close or conn.disconnect)(conn)
            end)
        end)

        local function once(consumer, id)
            local first, message = inbox:once(conn, consumer, id)
            assert.is_nil(message)
            return first
        end

        it("is true once for an event and a consumer", function()
            exec("BEGIN")
            assert.is_true(once("billing", ID))
            assert.is_false(once("billing", ID))
            assert.is_false(once("billing", ID:upper()))
            assert.is_true(once("billing", OTHER))
            assert.is_true(once(AWKWARD, ID))
            exec("COMMIT")
            exec("BEGIN")
            assert.is_false(once("billing", ID))
            assert.is_false(once(AWKWARD, ID))
            exec("COMMIT")
        end)

        it("forgets what was rolled back", function()
            exec("BEGIN")
            assert.is_true(once("billing", ID))
            exec("ROLLBACK")
            exec("BEGIN")
            assert.is_true(once("billing", ID))
            exec("COMMIT")
        end)

        it("refuses a connection without a transaction", function()
            refused("NOT_IN_TRANSACTION", "^no transaction is open",
                inbox:once(conn, "billing", ID))
            local alone = outtray.inbox {require_transaction = false}
            assert.is_true(alone:once(conn, "billing", ID))
            assert.is_false(alone:once(conn, "billing", ID))
        end)

        it("refuses what is no id, and the transaction goes on", function()
            exec("BEGIN")
            refused("INVALID_EVENT", "is a UUID, not '7'",
                inbox:once(conn, "billing", "7"))
            refused("INVALID_EVENT", "is a UUID", inbox:once(conn, "billing",
                "'); DROP TABLE orders; --            "))
            refused("INVALID_UTF8", "not UTF%-8", inbox:once(conn, "\255", ID))
            assert.is_true(once("billing", ID))
            exec("COMMIT")
        end)

        it("says that there is no inbox", function()
            exec("BEGIN")
            refused("STORE_NO_SCHEMA", "outtray init",
                outtray.inbox({name = "other"}):once(conn, "billing", ID))
            exec("ROLLBACK")
        end)

        it("says that the connection is closed", function()
            (conn.close or conn.disconnect)(conn)
            refused("CONNECTION_CLOSED", "closed", inbox:once(conn, "billing", ID))
        end)
    end)
end

describe("a mistake", function()
    local inbox = outtray.inbox()
    local conn = databases.drivers["luasql.sqlite3"].connect()

    it("is raised", function()
        for pattern, f in pairs {
            ["a connection is one of"] = function() inbox:once({}, "a", ID) end,
            ["the name of a consumer"] = function() inbox:once(conn, nil, ID) end,
            ["the id of an event, not a number"] =
                function() inbox:once(conn, "a", 7) end,
            ["no option 'nmae'"] = function() outtray.inbox {nmae = "x"} end,
            ["name must be a string"] = function() outtray.inbox {name = 1} end,
            ["no name of an outbox"] = function() outtray.inbox {name = "a-b"} end,
            ["a table of options"] = function() outtray.inbox("x") end,
        } do
            assert.error_matches(f, pattern)
        end
    end)
end)
