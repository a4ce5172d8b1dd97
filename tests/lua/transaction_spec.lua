-- outbox:transaction, on a connection of pgmoon.
local databases = require "databases"
local outtray = require "outtray"

describe("outbox:transaction", function()
    local outbox = outtray.outbox()
    local pg, given_back

    local function transaction(work)
        return outbox:transaction(pg, work, function(conn)
            given_back = conn
        end)
    end

    local function usable()
        assert.equal(pg, given_back)
        local rows = assert(pg:query("SELECT txid_current_if_assigned() AS id"))
        assert.is_nil(rows[1].id)
    end

    before_each(function()
        databases.empty()
        pg, given_back = databases.drivers.pgmoon.connect(), nil
    end)

    after_each(function() pcall(pg.disconnect, pg) end)

    it("commits what the work did, and returns what it returned", function()
        local id, extra = transaction(function(tx)
            assert.equal(pg, tx.pg)
            local id = assert(tx:enqueue {topic = "a"})
            assert(tx:enqueue_many {{topic = "b"}, {topic = "c"}})
            assert.equal("1", tostring(tx:query("SELECT 1 AS one")[1].one))
            return id, "extra"
        end)
        assert.equal("extra", extra)
        assert.same({{id, "a"}}, {databases.events(false, "id, topic")[1]})
        assert.equal(3, databases.count(false))
        usable()
    end)

    it("rolls back where the work returns nothing or an error", function()
        assert.equal(0, select("#", transaction(function(tx)
            tx:enqueue {topic = "a"}
        end)))
        local done, message, code = transaction(function(tx)
            tx:enqueue {topic = "a"}
            return tx:enqueue {topic = ""}
        end)
        assert.is_nil(done)
        assert.matches("^event 0: topic", message)
        assert.equal("INVALID_EVENT", code)
        assert.equal(0, databases.count(false))
        usable()
    end)

    it("rolls back and raises what the work raises", function()
        local problem = {}
        local fine, raised = pcall(transaction, function(tx)
            tx:enqueue {topic = "a"}
            error(problem)
        end)
        assert.is_false(fine)
        assert.equal(problem, raised)
        assert.equal(0, databases.count(false))
        usable()
    end)

    it("says that a failed transaction was not committed", function()
        local done, message, code = transaction(function(tx)
            tx:enqueue {topic = "a"}
            tx:query("SELECT 1/0")
            return true
        end)
        assert.is_nil(done)
        assert.matches("rolled back", message)
        assert.equal("TRANSACTION_FAILED", code)
        assert.equal(0, databases.count(false))
        usable()
    end)

    it("says why COMMIT was refused", function()
        assert(pg:query("CREATE TABLE once (n int UNIQUE DEFERRABLE INITIALLY "
            .. "DEFERRED)"))
        local done, message, code, state = transaction(function(tx)
            tx:enqueue {topic = "a"}
            return tx:query("INSERT INTO once VALUES (1), (1)")
        end)
        assert.is_nil(done)
        assert.matches("duplicate key", message)
        assert.same({"STORE", "23505"}, {code, state})
        assert.equal(0, databases.count(false))
        usable()
        assert(pg:query("DROP TABLE once"))
    end)

    it("says that it is not known whether COMMIT was done", function()
        local receive = pg.receive_message
        local done, message, code = transaction(function(tx)
            assert(tx:enqueue {topic = "a"})
            function tx.pg.receive_message(self)
                receive(self)
                return nil, "timeout"
            end
            return true
        end)
        assert.is_nil(done)
        assert.matches("not known", message)
        assert.equal("COMMIT_UNKNOWN", code)
        assert.is_nil(given_back)
    end)

    it("gives back no connection that is gone", function()
        local done, _, code = transaction(function(tx)
            tx.pg.sock:close()
            return tx:enqueue {topic = "a"}
        end)
        assert.is_nil(done)
        assert.equal("CONNECTION_CLOSED", code)
        assert.is_nil(given_back)
        done, _, code = transaction(function() return true end)
        assert.is_nil(done)
        assert.equal("STORE_UNAVAILABLE", code)
    end)

    it("asks for a savepoint only where it cannot know", function()
        local sent = {}
        function pg.simple_query(self, sql)
            sent[#sent + 1] = sql:match("^%u+")
            return getmetatable(self).__index.simple_query(self, sql)
        end
        assert(transaction(function(tx)
            assert(tx:enqueue {topic = "a"})
            return outbox:enqueue(pg, {topic = "b"})
        end))
        assert.same({"BEGIN", "INSERT", "INSERT", "COMMIT"}, sent)
        assert(pg:query("BEGIN"))
        sent = {}
        assert(outbox:enqueue(pg, {topic = "c"}))
        assert.same({"SAVEPOINT"}, sent)
        assert(pg:query("COMMIT"))
        assert.equal(3, databases.count(false))
    end)

    it("sees a transaction that the work has ended", function()
        local code
        transaction(function(tx)
            assert(tx:enqueue {topic = "a"})
            assert(tx:query("COMMIT"))
            code = select(3, tx:enqueue {topic = "b"})
            return true
        end)
        assert.equal("NOT_IN_TRANSACTION", code)
        assert.equal(1, databases.count(false))
    end)

    it("trusts no state that it may have missed", function()
        local code
        transaction(function(tx)
            tx.pg.receive_message = getmetatable(tx.pg).__index.receive_message
            assert(tx:query("COMMIT"))
            code = select(3, tx:enqueue {topic = "b"})
            return true
        end)
        assert.equal("NOT_IN_TRANSACTION", code)
        assert.equal(0, databases.count(false))
    end)

    it("takes no connection that is in a transaction", function()
        assert(pg:query("BEGIN"))
        local done, message, code = transaction(function() return true end)
        assert.is_nil(done)
        assert.matches("open already", message)
        assert.equal("IN_TRANSACTION", code)
        assert.is_nil(given_back)
    end)

    it("raises a mistake", function()
        assert.error_matches(function()
            outbox:transaction(
                databases.drivers["luasql.postgres"].connect(), print)
        end, "takes a connection of pgmoon")
        pg.busy = true
        assert.error_matches(function() outbox:transaction(pg, print) end,
            "connection is busy")
        pg.busy = false
        assert.error_matches(function() outbox:transaction(1, print) end,
            "a connection is one of")
        assert.error_matches(function() outbox:transaction(pg) end,
            "takes a function, not a nil")
    end)
end)
