-- outtray - a transactional outbox: events written in the caller's own
-- transaction, and a relay that publishes what was committed, at least once and
-- in order per key.
--
--     local outtray = require "outtray"
--     local outbox = outtray.outbox()
--     local id, message, code = outbox:enqueue(conn, {
--         topic = "orders.created", key = "7", payload = {id = 7},
--     })
--
-- What goes wrong comes back as nil, a message and a name; error() tells that the
-- call itself is a mistake.
local outtray = {_VERSION = "0.1.0"}

-- A new outbox; see outtray.outbox.
function outtray.outbox(options)
    return require("outtray.outbox").new(options)
end

-- A new id for an event: a UUID of version 7, as text.
function outtray.id()
    return require("outtray.builder").module.id_new()
end

-- What a consumer has handled; see outtray.inbox.
function outtray.inbox(options)
    return require("outtray.inbox").new(options)
end

-- A relay; see outtray.relay.
function outtray.relay(options)
    return require("outtray.relay").new(options)
end

return outtray
