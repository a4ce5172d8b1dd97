-- The builder of statements, in each of its modules.
local support = require "support"

local statements = support.json("enqueue.json")
local refusals = support.json("enqueue_errors.json")

for _, name in ipairs {"outtray.build", "outtray.core"} do
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
                for where, expect in pairs(row.expect) do
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
                assert.equal(8, seen)
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

        it("has the table of errors", function()
            assert.equal("TOO_LARGE", builder.error_name(-20))
            assert.is_true(builder.error_retryable(-30))
            assert.is_false(builder.error_retryable(-20))
            assert.equal(65, builder.error_exit(-20))
            assert.matches("^%d+%.%d+%.%d+$", builder.version())
        end)

        if _VERSION == "Lua 5.4" then
            it("gives integers", function()
                assert.equal("integer", math.type(builder.error_exit(-20)))
                assert.equal("integer", math.type(builder.SQLITE))
                local _, _, params =
                    builder.enqueue_build(options, {{topic = "t"}})
                assert.equal("integer", math.type(params.n))
            end)
        end
    end)
end

describe("outtray.core", function()
    it("has what outtray.build has", function()
        local core = require "outtray.core"
        for name, value in pairs(require "outtray.build") do
            assert.equal(type(value), type(core[name]))
        end
        assert.is_function(core.relay_open)
    end)
end)
