-- outbox:enqueue on a connection of every driver, and what it refuses.
local databases = require "databases"
local outtray = require "outtray"

local function hex(bytes)
    return (bytes:gsub(".", function(c)
        return ("%02X"):format(c:byte())
    end))
end

local ALL_BYTES = {}
for i = 0, 255 do
    ALL_BYTES[#ALL_BYTES + 1] = string.char(i)
end
ALL_BYTES = table.concat(ALL_BYTES)

local ID = "01912d68-783e-7a03-8467-5661c1240001"
local AWKWARD = [[it's "a" \ ? $1 %s :x {b} é 🎉]]

for driver, database in pairs(databases.drivers) do
    for _, builder in ipairs {"c", "lua"} do
        describe(driver .. " with the builder in " .. builder, function()
            local outbox = outtray.outbox {builder = builder}
            local conn, exec

            before_each(function()
                databases.empty()
                conn, exec = database.connect()
            end)

            after_each(function()
                pcall(function()
                    (conn.close or conn.disconnect)(conn)
                end)
            end)

            it("writes in the transaction, and is gone with it", function()
                exec("BEGIN")
                local id, message = outbox:enqueue(conn, {topic = "t", key = "k"})
                assert.is_nil(message)
                assert.matches("^%x+%-%x+%-7%x%x%x%-%x+%-%x+$", id)
                assert.equal(0, databases.count(database.sqlite))
                exec("ROLLBACK")
                assert.equal(0, databases.count(database.sqlite))

                exec("BEGIN")
                id = assert(outbox:enqueue(conn, {topic = "t", key = "k"}))
                exec("COMMIT")
                local rows = databases.events(database.sqlite, "id, topic, key")
                assert.same({{id, "t", "k"}}, rows)
            end)

            it("keeps every member as it is", function()
                exec("BEGIN")
                assert.equal(ID, assert(outbox:enqueue(conn, {
                    topic = AWKWARD,
                    key = AWKWARD,
                    type = AWKWARD,
                    headers = {a = AWKWARD, B = "\1\n"},
                    payload = ALL_BYTES,
                    id = ID:upper(),
                    deliver_at = 1795000000.25,
                })))
                exec("COMMIT")
                local row = databases.events(
                    database.sqlite, databases.columns(database.sqlite))[1]
                assert.same({ID, AWKWARD, AWKWARD, AWKWARD},
                    {row[1], row[2], row[3], row[4]})
                assert.same({a = AWKWARD, B = "\1\n"},
                    require("cjson").decode(row[5]))
                assert.equal(hex(ALL_BYTES), row[6])
                assert.equal(1795000000250000, tonumber(row[7]))
            end)

            it("takes tables by its serializer", function()
                exec("BEGIN")
                assert(outbox:enqueue(conn, {topic = "t", payload = {id = 7}}))
                local own = outtray.outbox {
                    builder = builder,
                    serializer = function(payload) return "<" .. payload.id .. ">" end,
                }
                assert(own:enqueue(conn, {topic = "t", payload = {id = 8}}))
                exec("COMMIT")
                local rows = databases.events(
                    database.sqlite, databases.columns(database.sqlite))
                assert.equal(hex('{"id":7}'), rows[1][6])
                assert.equal(hex("<8>"), rows[2][6])
            end)

            it("takes the largest payload", function()
                exec("BEGIN")
                assert(outbox:enqueue(
                    conn, {topic = "t", payload = ("\255"):rep(921600)}))
                exec("COMMIT")
                local rows = databases.events(database.sqlite, "length(payload)")
                assert.equal(921600, tonumber(rows[1][1]))
            end)

            it("writes many, all or none", function()
                local events = {}
                for i = 1, 300 do
                    events[i] = {topic = "t", key = "k" .. i % 7,
                        payload = tostring(i)}
                end
                exec("BEGIN")
                local ids = assert(outbox:enqueue_many(conn, events))
                assert.same({}, outbox:enqueue_many(conn, {}))
                events[300].topic = ("t"):rep(250)
                local none, message, code = outbox:enqueue_many(conn, events)
                assert.is_nil(none)
                assert.matches("^event 299: topic: 250 bytes", message)
                assert.equal("TOO_LARGE", code)
                exec("COMMIT")
                local rows = databases.events(database.sqlite, "id, key")
                assert.equal(300, #rows)
                for i, row in ipairs(rows) do
                    assert.same({ids[i], "k" .. i % 7}, row)
                end
            end)

            it("takes more events than a statement holds", function()
                local events = {}
                for i = 1, 8001 do
                    events[i] = {topic = "t"}
                end
                exec("BEGIN")
                local ids = assert(outbox:enqueue_many(conn, events))
                exec("COMMIT")
                assert.equal(8001, #ids)
                assert.equal(8001, databases.count(database.sqlite))
            end)

            it("refuses a connection without a transaction", function()
                local function refused(...)
                    local id, message, code = ...
                    assert.is_nil(id)
                    assert.matches("^no transaction is open", message)
                    assert.equal("NOT_IN_TRANSACTION", code)
                end
                refused(outbox:enqueue(conn, {topic = "t"}))
                refused(outbox:enqueue_many(conn, {{topic = "t"}, {topic = "u"}}))
                exec("BEGIN")
                exec("COMMIT")
                refused(outbox:enqueue(conn, {topic = "t"}))
                assert.equal(0, databases.count(database.sqlite))

                local alone = outtray.outbox {
                    builder = builder, require_transaction = false,
                }
                assert(alone:enqueue(conn, {topic = "t"}))
                assert.equal(1, databases.count(database.sqlite))
            end)

            it("leaves the transaction usable where the event is refused",
                function()
                    exec("BEGIN")
                    for name, event in pairs {
                        TOO_LARGE = {topic = "t", payload = ("x"):rep(921601)},
                        INVALID_UTF8 = {topic = "t", key = "\255"},
                        INVALID_EVENT = {topic = "t", headers = {id = "x"}},
                        NOT_SERIALIZABLE = {topic = "t", payload = {print}},
                    } do
                        local id, message, code = outbox:enqueue(conn, event)
                        assert.is_nil(id)
                        assert.is_string(message)
                        assert.equal(name, code)
                    end
                    assert(outbox:enqueue(conn, {topic = "t"}))
                    exec("COMMIT")
                    assert.equal(1, databases.count(database.sqlite))
                end)

            it("keeps to savepoints", function()
                exec("BEGIN")
                assert(outbox:enqueue(conn, {topic = "kept"}))
                exec("SAVEPOINT outtray")
                assert(outbox:enqueue(conn, {topic = "undone"}))
                exec("ROLLBACK TO outtray")
                exec("COMMIT")
                assert.same({{"kept"}}, databases.events(database.sqlite, "topic"))
            end)

            it("says that a connection is closed", function()
                (conn.close or conn.disconnect)(conn)
                local id, message, code = outbox:enqueue(conn, {topic = "t"})
                assert.is_nil(id)
                assert.matches("closed", message)
                assert.equal("CONNECTION_CLOSED", code)
            end)

            it("says that there is no outbox", function()
                exec("BEGIN")
                local other = outtray.outbox {builder = builder, name = "other"}
                local id, message, code = other:enqueue(conn, {topic = "t"})
                assert.is_nil(id)
                assert.matches("outtray init", message)
                assert.equal("STORE_NO_SCHEMA", code)
                exec("ROLLBACK")
            end)

            if database.sqlite then
                it("says that another has the write lock", function()
                    local _, other = database.connect()
                    other("BEGIN IMMEDIATE")
                    exec("BEGIN")
                    local id, _, code = outbox:enqueue(conn, {topic = "t"})
                    assert.same({nil, "STORE_BUSY"}, {id, code})
                    other("ROLLBACK")
                    assert(outbox:enqueue(conn, {topic = "t"}))
                    exec("COMMIT")
                end)
            else
                it("says that the transaction has failed", function()
                    exec("BEGIN")
                    assert.is_false(pcall(exec, "SELECT 1/0"))
                    local id, message, code = outbox:enqueue(conn, {topic = "t"})
                    assert.is_nil(id)
                    assert.matches("only a rollback helps", message)
                    assert.equal("TRANSACTION_FAILED", code)
                    exec("ROLLBACK")
                end)

                it("locks keys before a seq is drawn, if it is strict", function()
                    local strict = outtray.outbox {
                        builder = builder, strict = true,
                    }
                    exec("BEGIN")
                    assert(strict:enqueue(conn, {topic = "t", key = "k"}))
                    assert(strict:enqueue_many(
                        conn, {{topic = "t", key = "k"}, {topic = "t", key = "l"}}))
                    local locks = assert(databases.drivers["luasql.postgres"]
                        .connect():execute("SELECT count(*) FROM pg_locks "
                            .. "WHERE locktype = 'advisory' AND database = (SELECT "
                            .. "oid FROM pg_database WHERE datname = "
                            .. "current_database())"))
                    assert.equal("2", (tostring(locks:fetch()):gsub("%.0$", "")))
                    locks:close()
                    exec("COMMIT")
                end)

                it("says that the server went away", function()
                    exec("BEGIN")
                    local _, kill = databases.drivers["luasql.postgres"].connect()
                    kill("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        .. "WHERE state = 'idle in transaction' AND datname = "
                        .. "current_database()")
                    local id, message, code = outbox:enqueue(conn, {topic = "t"})
                    assert.is_nil(id)
                    assert.is_string(message)
                    assert.is_true(code == "STORE_UNAVAILABLE"
                        or code == "CONNECTION_CLOSED", code .. ": " .. message)
                end)
            end
        end)
    end
end

describe("pgmoon", function()
    it("keeps its own receive_message", function()
        local conn = databases.drivers.pgmoon.connect()
        local own = function(...)
            return getmetatable(conn).__index.receive_message(...)
        end
        conn.receive_message = own
        assert(conn:query("BEGIN"))
        assert(outtray.outbox():enqueue(conn, {topic = "t"}))
        assert.equal(own, conn.receive_message)
        conn.receive_message = nil
        assert(outtray.outbox():enqueue(conn, {topic = "t"}))
        assert.is_nil(rawget(conn, "receive_message"))
        conn:disconnect()
    end)

    it("raises what is a mistake of its caller", function()
        local conn = databases.drivers.pgmoon.connect()
        conn.busy = true
        assert.error_matches(function()
            outtray.outbox():enqueue(conn, {topic = "t"})
        end, "connection is busy")
        conn.busy = false
        conn:disconnect()
    end)

    it("is no pool", function()
        assert.error_matches(function()
            outtray.outbox():enqueue(
                {_get_connection = print, simple_query = print}, {topic = "t"})
        end, "take one connection")
    end)
end)

describe("a mistake", function()
    local outbox = outtray.outbox()
    local conn = databases.drivers["luasql.sqlite3"].connect()

    local function raises(pattern, f)
        assert.error_matches(f, pattern)
    end

    it("is raised where it was made", function()
        local _, message = pcall(function()
            outbox:enqueue(conn, {topic = 1})
        end)
        assert.matches("outbox_spec.lua:%d+: event 0: topic must be a string",
            message)
    end)

    it("can be the connection", function()
        for _, wrong in ipairs {1, "x", true, print, {}, io.stdout} do
            raises("a connection is one of", function()
                outbox:enqueue(wrong, {topic = "t"})
            end)
            raises("a connection is one of", function()
                outbox:enqueue_many(wrong, {{topic = "t"}})
            end)
        end
        raises("not a nil", function() outbox:enqueue(nil, {topic = "t"}) end)
        raises("not PostgreSQL environment", function()
            outbox:enqueue(require("luasql.postgres").postgres(), {topic = "t"})
        end)
    end)

    it("can be the event", function()
        for pattern, wrong in pairs {
            ["an event is a table, not a string"] = "t",
            ["there is no member 'payloda'"] = {topic = "t", payloda = "x"},
            ["key must be a string, not a number"] = {topic = "t", key = 7},
            ["payload must be a string, not a boolean"] =
                {topic = "t", payload = false},
            ["header a: names and values must be strings, not a number"] =
                {topic = "t", headers = {a = 1}},
            ["header 1: names and values must be strings, not a number"] =
                {topic = "t", headers = {"x"}},
            ["deliver_at must be seconds since 1970"] =
                {topic = "t", deliver_at = "soon"},
            ["an event is a plain table"] =
                setmetatable({topic = "t"}, {__index = {key = "k"}}),
        } do
            raises(pattern, function() outbox:enqueue(conn, wrong) end)
            raises(pattern, function() outbox:enqueue_many(conn, {wrong}) end)
        end
        raises("a list of events", function() outbox:enqueue_many(conn, "x") end)
    end)

    it("can be an option", function()
        for pattern, options in pairs {
            ["no option 'nmae'"] = {nmae = "x"},
            ["name must be a string"] = {name = 1},
            ["this is no name of an outbox"] = {name = "a-b"},
            ["builder is"] = {builder = "rust"},
            ["a NUL in its name"] = {name = "a\0b"},
            ["whole number from 0 on, not %-1"] = {max_payload_bytes = -1},
            ["max_headers_bytes must be a whole number"] = {max_headers_bytes = 0.5},
        } do
            raises(pattern, function() outtray.outbox(options) end)
        end
        raises("a table of options", function() outtray.outbox("x") end)
    end)
end)

describe("outbox:build", function()
    local outbox = outtray.outbox()

    it("gives a statement for other drivers", function()
        local sql, id, params = outbox:build(
            {topic = "t", payload = {a = 1}, id = ID}, "postgresql", "$")
        assert.matches("VALUES %(%$1::text::uuid", sql)
        assert.equal(ID, id)
        assert.same({ID, "t", [6] = '{"a":1}', n = 7, kinds = "ttnnnbn"}, params)
        sql, id, params = outbox:build({topic = "t", id = ID}, "sqlite")
        assert.truthy(sql:find("'" .. ID .. "', 't', NULL", 1, true))
        assert.equal(ID, id)
        assert.is_nil(params)
    end)

    it("refuses as enqueue does", function()
        local sql, message, code = outbox:build({topic = ""}, "sqlite", "?")
        assert.is_nil(sql)
        assert.matches("^event 0: topic", message)
        assert.equal("INVALID_EVENT", code)
        assert.has_error(function() outbox:build({topic = "t"}, "oracle") end)
        assert.has_error(function() outbox:build({topic = "t"}, "sqlite", "@") end)
    end)
end)

describe("outtray", function()
    it("makes ids", function()
        assert.matches("^%x+%-%x+%-7%x%x%x%-%x+%-%x+$", outtray.id())
    end)

    it("does without the module in C", function()
        local names = {"outtray.builder", "outtray.outbox", "outtray.build"}
        local kept = {}
        for _, name in ipairs(names) do
            kept[name], package.loaded[name] = package.loaded[name], nil
        end
        package.preload["outtray.build"] = function() error("no such file") end
        local without = require("outtray.outbox").new()
        assert.equal("lua", require("outtray.builder").kind)
        assert.error_matches(function()
            require("outtray.outbox").new {builder = "c"}
        end, "no such file")
        local conn, exec = databases.drivers["luasql.sqlite3"].connect()
        databases.empty()
        exec("BEGIN")
        assert(without:enqueue(conn, {topic = "t"}))
        exec("COMMIT")
        assert.equal(1, databases.count(true))
        package.preload["outtray.build"] = nil
        for _, name in ipairs(names) do
            package.loaded[name] = kept[name]
        end
    end)
end)
