-- gateway_app.lua - the application of test_gateway.py: a body becomes an event.
local cjson = require "cjson.safe"
local gateways = require "resty.outtray.gateway"

local app = {}
local gateway

function app.start(options)
    gateway = gateways.new(options)
end

local function answer(status, body)
    ngx.status = status
    ngx.say(body)
end

local function told(id, message, code, unknown)
    if id then
        return answer(201, type(id) == "table" and table.concat(id, " ") or id)
    end
    answer(503, tostring(code) .. " " .. tostring(unknown) .. " " .. message)
end

local function body()
    ngx.req.read_body()
    return ngx.req.get_body_data() or ""
end

function app.event()
    local args = ngx.req.get_uri_args()
    told(gateway:enqueue {
        topic = args.topic or "clicks", key = args.key, id = args.id, payload = body(),
        headers = args.header and {["x-header"] = args.header} or nil,
    })
end

-- The body: a list of events.
function app.many()
    local ids, message, code, unknown = gateway:enqueue_many(cjson.decode(body()))
    told(ids, message, code, unknown and table.concat(unknown, ","))
end

-- What is wrong with a call or with options.
local MISTAKES = {
    event = function() gateway:enqueue("an event") end,
    member = function() gateway:enqueue {topic = "t", colour = "red"} end,
    list = function() gateway:enqueue_many(7) end,
    none = function() gateways.new() end,
    store = function() gateways.new {} end,
    option = function() gateways.new {store = "sqlite:x", timout = 1} end,
    kind = function() gateways.new {store = "sqlite:x", timeout = "1"} end,
    range = function() gateways.new {store = "sqlite:x", max_events = 0} end,
    url = function() gateways.new {store = "sqlite:"} end,
}

function app.misuse()
    local fine, message = pcall(MISTAKES[ngx.var.arg_what])
    answer(fine and 200 or 500, tostring(message))
end

function app.stats()
    local stats = gateway:stats()
    stats.pid = ngx.worker.pid()
    answer(200, cjson.encode(stats))
end

-- Remember what enqueue says in a phase, if a test asks for it.
function app.tell(phase)
    if not app.telling then
        return "x"
    end
    local id, message, code = gateway:enqueue {topic = phase}
    ngx.shared.told:set(phase, id and "written" or code .. ": " .. message)
    return "x"
end

return app
