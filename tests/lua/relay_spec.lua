-- The relay in Lua, the events that a script takes from it, and loops around it.
local databases = require "databases"
local outtray = require "outtray"

local folder = assert(os.getenv("OUTTRAY_SPEC_FOLDER"))
local outbox = outtray.outbox()
local STORES = {
    postgres = {url = databases.pg_url, driver = "luasql.postgres"},
    sqlite = {url = "sqlite:" .. databases.sqlite_path, driver = "luasql.sqlite3"},
}

local function enqueue(driver, events)
    local conn, exec = databases.drivers[driver].connect()
    exec("BEGIN")
    local ids = assert(outbox:enqueue_many(conn, events))
    exec("COMMIT")
    conn:close()
    return ids
end

local function some(n)
    local events = {}
    for i = 1, n do
        events[i] = {topic = "t", key = "k" .. i % 5, payload = tostring(i)}
    end
    return events
end

local function read(path)
    local file = assert(io.open(path))
    local lines = {}
    for line in file:lines() do
        lines[#lines + 1] = line
    end
    file:close()
    return lines
end

local subscriptions = 0

-- A relay with a subscription of its own, which starts with the first event.
local function relay_of(store, options)
    subscriptions = subscriptions + 1
    local all = {
        store = store.url, sink = "script:", log = false,
        subscription = ("s%d_%d"):format(subscriptions, os.time() % 100000),
    }
    for name, value in pairs(options or {}) do
        all[name] = value
    end
    return assert(outtray.relay(all))
end

for name, store in pairs(STORES) do
    describe("a relay of " .. name, function()
        before_each(databases.empty)

        it("delivers what was committed, in order", function()
            local ids = enqueue(store.driver, some(50))
            local path = ("%s/%s.jsonl"):format(folder, name)
            os.remove(path)
            local relay = relay_of(store, {
                sink = "file://" .. path, until_empty = true,
            })
            assert.is_true(relay:run())
            assert.is_true(relay:done())
            local stats = relay:stats()
            assert.equal(50, stats.delivered)
            assert.equal("stopped", stats.stall)
            relay:close()
            local lines = read(path)
            assert.equal(50, #lines)
            for i, line in ipairs(lines) do
                assert.truthy(line:find(ids[i], 1, true))
            end
        end)

        it("gives events to a script", function()
            local ids = enqueue(store.driver, {
                {topic = "a", key = "k", type = "T", headers = {x = "é\n"},
                    payload = "\0\255"},
                {topic = "b"},
            })
            local relay = relay_of(store, {until_empty = true})
            local seen = {}
            for batch in relay:batches() do
                for event in batch:events() do
                    seen[#seen + 1] = event
                    for _, ms in ipairs {0 / 0, 1 / 0} do
                        assert.error_matches(function() event:retry(ms) end,
                            "must be milliseconds, not")
                    end
                    assert.is_true(event:ok())
                    assert.is_false(event:ok())
                end
                assert.equal(0, batch:open())
            end
            assert.equal(2, #seen)
            local one, two = seen[1], seen[2]
            assert.same({ids[1], "a", "k", "T", "\0\255"},
                {one.id, one.topic, one.key, one.type, one.payload})
            assert.same({x = "é\n"}, one.headers)
            assert.matches("^%d+%.%d+$", one.order)
            assert.equal(0, one.attempts)
            assert.is_false(one.maybe_duplicate)
            assert.is_true(math.abs(one.created_us / 1e6 - os.time()) < 60)
            assert.same({ids[2], "b"}, {two.id, two.topic})
            assert.is_nil(two.key)
            assert.is_nil(two.payload)
            assert.same({}, two.headers)
            assert.has_error(function() one:ok() end,
                "the batch of this event is closed")
            relay:close()
        end)

        it("tries again, in order", function()
            enqueue(store.driver, {
                {topic = "t", key = "a", payload = "1"},
                {topic = "t", key = "a", payload = "2"},
                {topic = "t", key = "b", payload = "3"},
            })
            local relay = relay_of(store, {until_empty = true})
            local seen, failed = {}, false
            for batch in relay:batches {max_events = 10} do
                for event in batch:events() do
                    if event.payload == "1" and not failed then
                        failed = true
                        assert.is_true(event:retry(1, "not now"))
                    else
                        seen[#seen + 1] = event.payload .. event.attempts
                        event:ok()
                    end
                end
            end
            relay:close()
            table.sort(seen)
            assert.same({"11", "20", "30"}, seen)
        end)

        it("lets a rejected event die, and the next of its key wait", function()
            enqueue(store.driver, {
                {topic = "t", key = "a", payload = "1"},
                {topic = "t", key = "a", payload = "2"},
                {topic = "t", key = "b", payload = "3"},
            })
            local relay = relay_of(store, {until_empty = true})
            local seen = {}
            for batch in relay:batches() do
                for event in batch:events() do
                    seen[#seen + 1] = event.payload
                    if event.payload == "1" then
                        event:reject("no such customer")
                    else
                        event:ok()
                    end
                end
            end
            assert.equal(1, relay:stats().dead)
            relay:close()
            table.sort(seen)
            assert.same({"1", "3"}, seen)
        end)

        it("gives back what was not settled", function()
            enqueue(store.driver, some(10))
            local relay = relay_of(store, {until_empty = true})
            local tries = 0
            for batch in relay:batches {max_events = 10} do
                tries = tries + 1
                if tries > 1 then
                    for event in batch:events() do
                        assert.is_true(event.maybe_duplicate)
                        assert.equal(0, event.attempts)
                    end
                    batch:ok()
                end
            end
            assert.is_true(tries >= 2)
            assert.equal(10, relay:stats().delivered)
            relay:close()
        end)

        it("stops cleanly in the middle", function()
            enqueue(store.driver, some(20))
            local relay = relay_of(store)
            local seen = 0
            for batch in relay:batches {max_events = 5} do
                seen = seen + batch:ok()
                relay:stop()
            end
            assert.is_true(seen >= 5)
            assert.is_true(relay:done())
            assert.equal(seen, relay:stats().delivered)
            relay:close()
        end)

        it("lives through breaks, errors and dead coroutines", function()
            enqueue(store.driver, some(20))
            local relay = relay_of(store)
            for batch in relay:batches {max_events = 2} do -- luacheck: ignore 512
                for event in batch:events() do -- luacheck: ignore 512
                    event:ok()
                    break
                end
                break
            end
            collectgarbage()
            pcall(function()
                for batch in relay:batches {max_events = 2} do
                    batch:events()
                    error("mine")
                end
            end)
            collectgarbage()
            local kept = coroutine.wrap(function()
                for batch in relay:batches {max_events = 2} do
                    coroutine.yield(batch)
                end
            end)()
            collectgarbage()
            assert.equal(2, kept:ok())
            kept:close()
            kept:close()
            collectgarbage()
            relay:close()
            relay:close()
            collectgarbage()
        end)

        it("can be closed before its batches", function()
            enqueue(store.driver, some(4))
            local relay = relay_of(store)
            local batch
            while not batch do
                assert.is_true(relay:step(0.05))
                batch = relay:take()
            end
            local following, of = batch:events()
            local event = following(of)
            assert.equal("1", event.payload)
            relay:close()
            assert.is_false(event:ok())
            assert.is_nil(following(of))
            assert.equal(0, batch:ok())
            batch:close()
        end)

        it("runs in a loop of luv", function()
            local uv = require "luv"
            local relay = relay_of(store)
            local poll, timer = uv.new_poll(relay:fileno()), uv.new_timer()
            local seen, step = {}, nil

            local function done()
                poll:stop()
                poll:close()
                timer:stop()
                timer:close()
            end

            function step()
                local going, message = relay:step()
                if not going then
                    assert(going ~= nil, message)
                    return done()
                end
                for batch in function() return relay:take() end do
                    for event in batch:events() do
                        seen[#seen + 1] = event.payload
                        event:ok()
                    end
                    batch:close()
                end
                if #seen == 30 then
                    relay:stop()
                end
                timer:start(math.ceil((relay:timeout() or 60) * 1000), 0, step)
            end

            poll:start("r", step)
            timer:start(0, 0, step)
            local later = uv.new_timer()
            later:start(100, 0, function()
                enqueue(store.driver, some(30))
                later:close()
            end)
            uv.run()
            relay:close()
            assert.equal(30, #seen)
        end)

        it("runs in a loop of cqueues", function()
            local cqueues = require "cqueues"
            local relay = relay_of(store)
            local loop, seen = cqueues.new(), {}
            loop:wrap(function()
                while relay:step() do
                    for batch in function() return relay:take() end do
                        for event in batch:events() do
                            seen[#seen + 1] = event.payload
                            event:ok()
                        end
                        batch:close()
                    end
                    cqueues.poll(relay)
                end
            end)
            loop:wrap(function()
                cqueues.sleep(0.1)
                enqueue(store.driver, some(30))
                while #seen < 30 do
                    cqueues.sleep(0.01)
                end
                relay:stop()
            end)
            assert(loop:loop())
            relay:close()
            assert.equal(30, #seen)
        end)
    end)
end

describe("a relay of postgres", function()
    before_each(databases.empty)

    it("gives events on when the server has closed its connections", function()
        local store = STORES.postgres
        local _, exec = databases.drivers[store.driver].connect()
        enqueue(store.driver, some(4))
        local relay = relay_of(store)
        local seen, harmed = {}, false
        for batch in relay:batches {max_events = 2} do
            for event in batch:events() do
                seen[event.payload] = true
                if not harmed then
                    harmed = true
                    exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        .. "WHERE datname = current_database() AND "
                        .. "application_name = 'outtray'")
                    enqueue(store.driver, {{topic = "t", key = "k", payload = "5"}})
                end
                event:ok()
            end
            if seen["4"] and seen["5"] then
                relay:stop()
            end
        end
        relay:close()
        assert.same({["1"] = true, ["2"] = true, ["3"] = true, ["4"] = true,
            ["5"] = true}, seen)
    end)
end)

describe("a relay", function()
    local function fails(options, code, pattern)
        local relay, message, name = outtray.relay(options)
        assert.is_nil(relay)
        assert.equal(code, name)
        assert.matches(pattern, message)
    end

    it("says what is wrong with its settings", function()
        local store = databases.pg_url
        fails({store = "mysql://x", sink = "null:"}, "URL", "mysql")
        fails({store = store, sink = "nowhere:"}, "URL", "nowhere")
        fails({store = store, sink = "null:",
            settings = {["relay.batch_event"] = 5}}, "CONF", "relay.batch_events")
        fails({store = store, sink = "null:", config = folder .. "/none.ini"},
            "CONF", "none.ini")
        fails({store = store, sink = "null:",
            settings = {["relay.batch_events"] = 1e300}}, "CONF", "whole number")
    end)

    it("cuts no text short at a NUL", function()
        fails({store = "sqlite:a.db\0b", sink = "null:"}, "CONF", "store.url: .*NUL")
        fails({store = databases.pg_url, sink = "null:",
            settings = {["relay.batch_events"] = "5\0"}}, "CONF", "NUL")
        fails({store = databases.pg_url, config = "a\0b"}, "CONF", "config: .*NUL")
    end)

    it("raises a mistake", function()
        for pattern, options in pairs {
            ["no option 'sotre'"] = {sotre = "x"},
            ["sink must be a string"] = {sink = 1},
            ["settings must be a table"] = {settings = "x"},
        } do
            assert.error_matches(function() outtray.relay(options) end, pattern)
        end
        assert.has_error(function() outtray.relay() end)
        local relay = relay_of(STORES.postgres)
        assert.has_error(function() relay:step("x") end)
        assert.has_error(function() relay:batches {max = 1}() end)
        relay:close()
        for _, verb in ipairs {
            "step", "run", "stop", "fileno", "timeout", "stats", "take", "batches",
        } do
            assert.error_matches(function() relay[verb](relay) end,
                "this relay is closed")
        end
    end)

    it("says what it cannot get over", function()
        local relay = relay_of(STORES.postgres, {outbox = "nothing_here"})
        local done, message, code = relay:run()
        assert.is_nil(done)
        assert.equal("STORE_NO_SCHEMA", code)
        assert.is_string(message)
        relay:close()
        relay = relay_of(STORES.postgres, {outbox = "nothing_here"})
        assert.error_matches(function()
            for _ in relay:batches() do end
        end, "^STORE_NO_SCHEMA: ")
        relay:close()
    end)

    it("takes no batch of another sink", function()
        local relay = relay_of(STORES.postgres, {sink = "null:"})
        local batch, message, code = relay:take()
        assert.is_nil(batch)
        assert.equal("MISUSE", code)
        assert.matches("script:", message)
        relay:close()
    end)

    it("tells its log", function()
        local lines = {}
        local relay = relay_of(STORES.postgres, {
            until_empty = true, sink = "null:",
            log = function(level, facility, text)
                lines[#lines + 1] = {level, facility, text}
            end,
        })
        assert(relay:run())
        relay:close()
        assert.is_true(#lines > 0)
        for _, line in ipairs(lines) do
            assert.equal(3, #line)
        end
    end)

    it("can be closed by its log", function()
        local relay
        relay = relay_of(STORES.postgres, {
            sink = "null:", log = function() relay:close() end,
        })
        assert.is_true(relay:run())
        assert.is_true(relay:done())
    end)

    it("uses the copy of SQLite of every driver", function()
        local core = require "outtray.core"
        local scratch = folder .. "/scratch.db"
        for _, driver in ipairs {"luasql.sqlite3", "luadbi SQLite3"} do
            assert.is_string(databases.drivers[driver] and driver)
        end
        assert.is_true(require("outtray.sqlite").choose(core))
        local conn, exec = databases.drivers["luasql.sqlite3"].connect()
        local other = require("luasql.sqlite3").sqlite3():connect(scratch)
        assert(other:execute("BEGIN IMMEDIATE"))
        assert.is_true(core.sqlite_lock_test(scratch))
        assert(other:execute("ROLLBACK"))
        assert.is_false((core.sqlite_lock_test(scratch)) or false)
        other:close()
        exec("BEGIN")
        exec("COMMIT")
        conn:close()
    end)
end)
