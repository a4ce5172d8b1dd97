---@meta resty.outtray.gateway
-- Types for the Lua language server: add this folder to workspace.library.

---@class outtray.GatewayOptions
---@field store string sqlite:///absolute/path
---@field outbox? string prefix of the tables; "outtray"
---@field thread_pool? string of nginx.conf; "outtray"
---@field timeout? number seconds that a request waits; 5
---@field busy_timeout? number seconds that the thread waits for the write lock; 2
---@field max_events? integer that wait in a worker; 10,000
---@field max_bytes? integer that wait in a worker; 16 MiB
---@field serializer? fun(payload: table): string?, string?
---@field max_payload_bytes? integer
---@field max_headers_bytes? integer

---@class outtray.GatewayStats
---@field events integer that wait now
---@field bytes integer that wait now
---@field written integer
---@field refused integer the queue was full
---@field failed integer
---@field unknown integer
---@field groups integer transactions

---@class outtray.Gateway
local Gateway = {}

---The id, once the disk has the event.
---@param event outtray.NewEvent
---@return string? id
---@return string? message
---@return outtray.Code? code
---@return string? unknown the id, if the code is COMMIT_UNKNOWN
function Gateway:enqueue(event) end

---All of them or none.
---@param events outtray.NewEvent[]
---@return string[]? ids
---@return string? message
---@return outtray.Code? code
---@return string[]? unknown
function Gateway:enqueue_many(events) end

---Of this worker.
---@return outtray.GatewayStats
function Gateway:stats() end

---@class outtray.gateway
local gateway = {}

---@param options outtray.GatewayOptions
---@return outtray.Gateway
function gateway.new(options) end

return gateway
