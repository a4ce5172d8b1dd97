-- resty.outtray.gateway_thread - what of a gateway runs in a thread of nginx, in a Lua
-- of its own: it may wait, and knows nothing of requests.
local build = require "outtray.build"
local sqlite = require "outtray.sqlite"

local _M = {}

-- What is wrong with events, which others of the group do not suffer for.
local OF_EVENTS = {
    EXISTS = true, INVALID_EVENT = true, INVALID_UTF8 = true, TOO_LARGE = true,
}

-- One for each file and outbox; open from one group to the next.
local writers = {}

local function writer_of(file)
    local name = file.store .. "\n" .. file.outbox
    if not writers[name] then
        local shown, why, kind = sqlite.choose(build)
        if not shown then
            return nil, why, kind
        end
        local made, message, code = build.writer_open(file.store, file.outbox,
            file.busy_ms, file.max_payload_bytes, file.max_headers_bytes)
        if not made then
            return nil, message, code
        end
        writers[name] = made
    end
    return writers[name]
end

local function transaction(writer, parts)
    local done, message, code = build.writer_begin(writer)
    if not done then
        return nil, message, code
    end
    local refused = {}
    for place, events in ipairs(parts) do
        done, message, code = build.writer_add(writer, events)
        if not done and OF_EVENTS[code] then
            refused[place] = {message, code}
        elseif not done then
            return nil, message, code
        end
    end
    done, message, code = build.writer_commit(writer)
    if not done then
        return nil, message, code
    end
    return true, refused
end

-- All parts in one transaction. Returns true, and the parts that were refused with
-- message and code, by their place; or nil, a message and a code for all.
function _M.write(file, parts)
    local writer, why, kind = writer_of(file)
    if not writer then
        return nil, why, kind
    end
    local fine, done, message, code = pcall(transaction, writer, parts)
    if not fine or not done then
        build.writer_rollback(writer)
    end
    if not fine then
        return nil, tostring(done), "THREAD"
    end
    return done, message, code
end

return _M
