-- resty.outtray - outtray for OpenResty and nginx with its Lua module: enqueue through
-- pgmoon, inside the transaction of a request. No call blocks a worker; a relay runs
-- beside nginx, never in it.
local outboxes = require "outtray.outbox"

local get_phase = ngx.get_phase

local _M = {_VERSION = "0.1.0"}

-- Where there are cosockets.
local PHASES = {
    server_rewrite = true, rewrite = true, access = true, content = true, timer = true,
    preread = true, ssl_cert = true, ssl_session_fetch = true,
    ssl_client_hello = true,
}

local Outbox = setmetatable({}, {__index = outboxes.Outbox})
Outbox.__index = Outbox

local function check_phase()
    local phase = get_phase()
    if PHASES[phase] then
        return true
    end
    return nil, "a connection cannot be used in " .. phase .. "_by_lua: "
        .. "enqueue in rewrite, access or content, in the transaction of the "
        .. "request", "WRONG_PHASE"
end

-- As outtray.outbox.
function _M.new(options)
    local made = outboxes.new(options)
    return setmetatable(made, Outbox)
end

function Outbox:enqueue(pg, event)
    local fine, message, code = check_phase()
    if not fine then
        return nil, message, code
    end
    return outboxes.Outbox.enqueue(self, pg, event)
end

function Outbox:enqueue_many(pg, events)
    local fine, message, code = check_phase()
    if not fine then
        return nil, message, code
    end
    return outboxes.Outbox.enqueue_many(self, pg, events)
end

local function keepalive(pg)
    return pg:keepalive()
end

-- As outbox:transaction of outtray, and the connection goes back to the pool of the
-- worker (keepalive(pg) may do it in another way).
function Outbox:transaction(pg, work, give_back)
    local fine, message, code = check_phase()
    if not fine then
        return nil, message, code
    end
    return outboxes.Outbox.transaction(self, pg, work, give_back or keepalive)
end

return _M
