-- The builder of statements, in each of its modules.
local support = require "support"

local statements = support.json("enqueue.json")
local refusals = support.json("enqueue_errors.json")

for _, name in ipairs {"outtray.build", "outtray.core", "outtray.pure"} do
    local builder = require(name)
    local options = builder.enqueue_options(
        "outtray", builder.DOLLAR, builder.POSTGRESQL, false, 0, 0)

    local function refused(events, message)
        local sql, text, code = builder.enqueue_build(options, events)
        assert.is_nil(sql)
        assert.equal(message, text)
        assert.equal("MISUSE", code)
    end

    describe(name, function()
        for _, row in ipairs(statements) do
            it("renders: " .. row.name, function()
                local seen = 0
                for where, expect in support.renderings(builder, row) do
                    local dialect, style = where:match("(%w+)/(%w+)")
                    local sql, ids, params =
                        support.build(builder, row, dialect, style)
                    assert.equal(expect.sql, sql)
                    assert.same(row.ids, ids)
                    if #expect.params == 0 then
                        assert.is_nil(params)
                    else
                        assert.equal(#expect.params, params.n)
                        for i, param in ipairs(expect.params) do
                            local kind, value = support.param(param)
                            assert.equal(kind, params.kinds:sub(i, i))
                            assert.equal(value, params[i])
                        end
                    end
                    seen = seen + 1
                end
                local copy = builder.COPY and not (row.options or {}).strict
                assert.equal(copy and 9 or 8, seen)
            end)
        end

        for _, row in ipairs(refusals) do
            it("refuses: " .. row.name, function()
                support.each_style(row, function(dialect, style)
                    local sql, message, code =
                        support.build(builder, row, dialect, style)
                    assert.is_nil(sql)
                    assert.equal(row.error.text, message)
                    assert.equal(row.error.name, code)
                end)
            end)
        end

        it("says what a wrong type is", function()
            refused({1}, "event 0: it must be a table, not a number")
            refused({{topic = "t"}, "x"},
                "event 1: it must be a table, not a string")
            refused({{topic = 7}}, "event 0: topic must be a string, not a number")
            refused({{topic = "t", key = true}},
                "event 0: key must be a string, not a boolean")
            refused({{topic = "t", payload = {}}},
                "event 0: payload must be a string, not a table")
            refused({{topic = "t", payloda = "x"}},
                "event 0: there is no member 'payloda'")
            refused({{"t"}}, "event 0: a member has no name")
            for _, wrong in ipairs {
                "", "soon", " 1", "1 ", "1.5", 1.5, 2 ^ 63, 1 / 0, 0 / 0, {},
                "9223372036854775808", "-", "0x10", "1\0",
            } do
                refused({{topic = "t", deliver_at_us = wrong}},
                    "event 0: deliver_at_us must be an integer")
            end
        end)

        it("raises what is no list and no options", function()
            for _, wrong in ipairs {1, "x", true, print} do
                assert.has_error(function()
                    builder.enqueue_build(options, wrong)
                end)
                assert.has_error(function()
                    builder.enqueue_build(wrong, {})
                end)
            end
            assert.has_error(function() builder.enqueue_build(nil, {}) end)
            assert.has_error(function() builder.enqueue_build() end)
        end)

        it("reads an integer in digits or as a number", function()
            local moment = 1795000000123456
            for _, given in ipairs {moment, "1795000000123456"} do
                local _, _, params = builder.enqueue_build(
                    options, {{topic = "t", deliver_at_us = given}})
                assert.equal("2026-11-18T11:06:40.123456Z", params[7])
            end
        end)

        it("makes ids that are UUIDs and ascend in a batch", function()
            local events = {}
            for i = 1, 2000 do
                events[i] = {topic = "t"}
            end
            local _, ids = builder.enqueue_build(options, events)
            assert.equal(2000, #ids)
            for i, id in ipairs(ids) do
                assert.matches("^%x+%-%x+%-7%x%x%x%-[89ab]%x%x%x%-%x+$", id)
                assert.equal(36, #id)
                assert.is_true(i == 1 or id > ids[i - 1])
            end
            local id = builder.id_new()
            assert.matches("^%x+%-%x+%-7%x%x%x%-[89ab]%x%x%x%-%x+$", id)
            assert.is_true(math.abs(
                tonumber(id:sub(1, 8) .. id:sub(10, 13), 16) / 1000 - os.time()) < 60)
        end)

        it("lives through a collection at any moment", function()
            local pause = collectgarbage("setpause", 0)
            local step = collectgarbage("setstepmul", 1000)
            for round = 1, 50 do
                local made = builder.enqueue_options(
                    "a" .. round, builder.LITERAL, builder.SQLITE, false, 0, 0)
                local events = {}
                for i = 1, 20 do
                    events[i] = {topic = ("t"):rep(i), payload = ("p"):rep(round * i)}
                end
                local sql, ids = builder.enqueue_build(made, events)
                assert.matches('^INSERT INTO "a' .. round .. '_event"', sql)
                assert.equal(20, #ids)
                builder.enqueue_build(made, {{topic = ""}})
            end
            collectgarbage("setpause", pause)
            collectgarbage("setstepmul", step)
        end)

        it("works in a coroutine that dies", function()
            for _ = 1, 20 do
                local made = coroutine.wrap(function()
                    local own = builder.enqueue_options(
                        "o", builder.QMARK, builder.SQLITE, false, 0, 0)
                    coroutine.yield(own)
                    error("never comes here")
                end)()
                collectgarbage()
                assert.is_string((builder.enqueue_build(made, {{topic = "t"}})))
            end
        end)

        it("leaves no global behind", function()
            for global in pairs(_G) do
                assert.is_nil(tostring(global):match("^swig_[te]"))
                assert.is_nil(tostring(global):match("^outtray"))
            end
        end)

        if name ~= "outtray.pure" then
        it("has the table of errors", function()
            assert.equal("TOO_LARGE", builder.error_name(-20))
            assert.is_true(builder.error_retryable(-30))
            assert.is_false(builder.error_retryable(-20))
            assert.equal(65, builder.error_exit(-20))
            assert.matches("^%d+%.%d+%.%d+$", builder.version())
        end)
        end

        if _VERSION == "Lua 5.4" then
            it("gives integers", function()
                assert.equal("integer", math.type(builder.LITERAL))
                assert.equal("integer", math.type(builder.SQLITE))
                local _, _, params =
                    builder.enqueue_build(options, {{topic = "t"}})
                assert.equal("integer", math.type(params.n))
            end)
        end
    end)
end

describe("outtray.pure", function()
    local build, pure = require "outtray.build", require "outtray.pure"

    -- Pieces that are read in more than one way.
    local PIECES = {
        "a", "Z", "'", '"', "\\", "\0", "\n", "%", "$1", "?", "{", "}", ":", ",",
        " ", "\127", "\128", "\191", "\194\162", "\226\130\172", "\237\160\128",
        "\240\159\142\137", "\244\144\128\128", "\192\128", "\224\159\191",
        "\195", "\240\159", '{"a":"b"}', '"a"', '\\u0041', "\\ud83c\\udf89",
        "\\ud83c", "\\u0000", "id", "outtray-x", "-", "0", "1795000000123456",
    }

    local function pick(most)
        local parts = {}
        for i = 1, math.random(0, most) do
            parts[i] = PIECES[math.random(#PIECES)]
        end
        return table.concat(parts)
    end

    local function headers()
        local pairs_of = {}
        for i = 1, math.random(0, 3) do
            pairs_of[i] = '"' .. pick(2) .. '"' .. (" "):rep(math.random(0, 1))
                .. ':"' .. pick(3) .. '"'
        end
        return "{" .. table.concat(pairs_of, ",") .. "}" .. pick(1)
    end

    local function maybe(f, ...)
        if math.random(3) > 1 then
            return f(...)
        end
    end

    -- Ids are given, so that all is the same.
    local function event(i)
        return {
            topic = math.random(9) > 1 and "t" .. i or pick(3),
            key = maybe(pick, 3),
            type = maybe(pick, 2),
            headers = maybe(headers),
            payload = maybe(pick, 6),
            id = ("01912d68-783e-7a03-8467-5661c124%04x"):format(
                math.random(6) > 1 and i or 1),
            deliver_at_us = maybe(function()
                return math.random(2) == 1 and 1795000000123456
                    or tostring(math.random(9)) .. ("0"):rep(math.random(10, 17))
            end),
        }
    end

    it("is the same as outtray.build, whatever it is given", function()
        local refused, made = 0, 0
        local seed = os.time()
        math.randomseed(seed)
        for round = 1, 1000 do
            local events = {}
            for i = 1, math.random(1, 2) do
                events[i] = event(i)
            end
            local arguments = {
                "outtray", math.random(0, 3), math.random(0, 1),
                math.random(2) == 1, math.random(9) == 1 and 5 or 0, 0,
            }
            local unpack = table.unpack or unpack
            local where = ("seed %d, round %d"):format(seed, round)
            local a, b, c = build.enqueue_build(
                build.enqueue_options(unpack(arguments)), events)
            local x, y, z = pure.enqueue_build(
                pure.enqueue_options(unpack(arguments)), events)
            assert.equal(a, x, where)
            assert.same(b, y, where)
            assert.same(c, z, where)
            made, refused = made + (a and 1 or 0), refused + (a and 0 or 1)
        end
        assert.is_true(made > 40 and refused > 40, made .. " " .. refused)
    end)

    it("counts on when ids of a batch meet in a millisecond", function()
        local uuid = require "outtray.pure.uuid"
        local random, milliseconds = uuid.random, uuid.milliseconds
        uuid.milliseconds = function() return 1795000000123 end
        uuid.random = function() return ("\255"):rep(10) end
        local events = {}
        for i = 1, 4100 do
            events[i] = {topic = "t"}
        end
        local options = pure.enqueue_options(
            "o", pure.LITERAL, pure.POSTGRESQL, false, 0, 0)
        local _, ids = pure.enqueue_build(options, events)
        uuid.random = function() return nil end
        local sql, message, code = pure.enqueue_build(options, events)
        uuid.random, uuid.milliseconds = random, milliseconds
        assert.equal("01a1ee56-5e7b-77ff-bfff-ffffffffffff", ids[1])
        assert.equal("01a1ee56-5e7b-7800-bfff-ffffffffffff", ids[2])
        assert.equal("01a1ee56-5e7c-77ff-bfff-ffffffffffff", ids[2050])
        assert.same({nil, "the system gave no random bytes for an id", "IO"},
            {sql, message, code})
    end)
end)

describe("outtray.core", function()
    it("has what outtray.build has", function()
        local core = require "outtray.core"
        for name, value in pairs(require "outtray.build") do
            assert.equal(type(value), type(core[name]))
        end
        assert.is_function(core.relay_open)
    end)

    it("takes no userdata of others", function()
        local core = require "outtray.core"
        local conf = core.conf_new()
        local options = core.enqueue_options("outtray", core.DOLLAR, core.POSTGRESQL,
            false, 9, 9)
        local file = io.tmpfile()
        local others = {file, options, core, "conf", 7, true, print}
        for _, other in ipairs(others) do
            for _, name in ipairs {"conf_check", "relay_fd", "batch_size"} do
                local ok, message = pcall(core[name], other)
                assert.is_false(ok)
                assert.matches(name .. " %(arg 1%), expected", message)
            end
        end
        assert.has_error(function() core.enqueue_build(file, {{topic = "t"}}) end)
        -- Nor are there other ways to where they are trusted.
        assert.equal("outtray", getmetatable(conf))
        assert.has_error(function() setmetatable(conf, {}) end)
        assert.is_nil(conf.__disown)
        assert.is_true(core.conf_set(conf, "relay.ordering", "strict"))
        assert.equal("strict", core.conf_get(conf, "relay.ordering"))
        file:close()
    end)
end)
