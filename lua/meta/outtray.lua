---@meta outtray
-- Types for the Lua language server: add this folder to workspace.library.

---@alias outtray.Code
---| "TOO_LARGE" | "INVALID_UTF8" | "INVALID_EVENT" | "NOT_SERIALIZABLE"
---| "NOT_IN_TRANSACTION" | "TRANSACTION_FAILED" | "CONNECTION_CLOSED"
---| "STORE_UNAVAILABLE" | "STORE_NO_SCHEMA" | "STORE_PERMISSION" | "STORE_BUSY"
---| "QUEUE_FULL" | "COMMIT_UNKNOWN" | "WRONG_PHASE" | "THREAD" | "EXISTS"
---| "STORE_FULL" | "STORE_STANDBY" | "STORE" | "CONF" | "URL" | string

---@class outtray
---@field _VERSION string
local outtray = {}

---@param options? outtray.OutboxOptions
---@return outtray.Outbox
function outtray.outbox(options) end

---A new id for an event: a UUID of version 7.
---@return string? id
function outtray.id() end

---It connects later.
---@param options outtray.RelayOptions
---@return outtray.Relay? relay
---@return string? message
---@return outtray.Code? code
function outtray.relay(options) end

---@param options? outtray.InboxOptions
---@return outtray.Inbox
function outtray.inbox(options) end

---@class outtray.InboxOptions
---@field name? string schema, or prefix of the tables; "outtray"
---@field require_transaction? boolean false: take a connection that commits on its own

---@class outtray.Inbox
local Inbox = {}

---Is it the first time that this consumer handles this event?
---@param conn table | userdata of LuaSQL, LuaDBI, lsqlite3 or pgmoon
---@param consumer string
---@param event_id string
---@return boolean? first
---@return string? message
---@return outtray.Code? code
---@return string? sqlstate
function Inbox:once(conn, consumer, event_id) end

---@class outtray.OutboxOptions
---@field name? string schema, or prefix of the tables; "outtray"
---@field serializer? fun(payload: table): string?, string?
---@field strict? boolean order events of a key also where nobody locks its row
---@field require_transaction? boolean false: take a connection that commits on its own
---@field max_payload_bytes? integer
---@field max_headers_bytes? integer
---@field builder? "c" | "lua"

---@class outtray.NewEvent
---@field topic string
---@field payload? string | table nil: a tombstone
---@field key? string events of one key are delivered in order
---@field type? string
---@field headers? table<string, string> | string a table, or JSON
---@field deliver_at? number seconds since 1970
---@field deliver_at_us? integer | string microseconds, or their digits
---@field id? string a UUID; default: a new one

---@class outtray.Params: { [integer]: string }
---@field n integer
---@field kinds string a letter each: n(il), t(ext), b(ytes)

---@class outtray.Outbox
local Outbox = {}

---@param conn table | userdata of LuaSQL, LuaDBI, lsqlite3 or pgmoon
---@param event outtray.NewEvent
---@return string? id
---@return string? message
---@return outtray.Code? code
---@return string? sqlstate
function Outbox:enqueue(conn, event) end

---@param conn table | userdata
---@param events outtray.NewEvent[]
---@return string[]? ids
---@return string? message
---@return outtray.Code? code
---@return string? sqlstate
function Outbox:enqueue_many(conn, events) end

---BEGIN, work, COMMIT on a connection of pgmoon; what work returns.
---@param pg table
---@param work fun(tx: outtray.Tx): ...
---@param keepalive? fun(pg: table)
---@return any
---@return string? message
---@return outtray.Code? code
function Outbox:transaction(pg, work, keepalive) end

---@class outtray.Tx
---@field pg table
---@field query fun(tx: outtray.Tx, sql: string, ...): any
---@field enqueue fun(tx: outtray.Tx, event: outtray.NewEvent): string?, string?, outtray.Code?
---@field enqueue_many fun(tx: outtray.Tx, events: outtray.NewEvent[]): string[]?, string?, outtray.Code?

---The statement of one event, for a driver that outtray does not know.
---@param event outtray.NewEvent
---@param dialect "postgresql" | "sqlite"
---@param style? "$" | "?" | "%s" | "literal"
---@return string? sql
---@return string id_or_message
---@return outtray.Params | outtray.Code | nil
function Outbox:build(event, dialect, style) end

---@class outtray.RelayOptions
---@field store? string
---@field sink? string
---@field outbox? string
---@field subscription? string
---@field until_empty? boolean
---@field config? string
---@field environment? boolean
---@field settings? table<string, string | number | boolean>
---@field log? false | fun(level: "debug"|"info"|"warn"|"error", facility: string, text: string)
---@field signals? boolean

---@class outtray.Stats
---@field delivered integer
---@field failed integer
---@field dead integer
---@field reads integer
---@field writes integer
---@field pruned integer
---@field position integer
---@field last_seq integer
---@field fence integer
---@field window integer
---@field in_flight integer
---@field gaps integer
---@field held integer
---@field rtt_avg_us integer
---@field rtt_p99_us integer
---@field throttle_avg_ms integer
---@field throttle_max_ms integer
---@field queued_events integer
---@field queued_bytes integer
---@field stall string
---@field stall_detail string

---@class outtray.Limits
---@field max_events? integer
---@field max_bytes? integer
---@field linger_ms? integer

---@class outtray.Relay
local Relay = {}

---@return true? done
---@return string? message
---@return outtray.Code? code
function Relay:run() end

---@param seconds? number
---@return boolean? going false: it has stopped
---@return string? message
---@return outtray.Code? code
function Relay:step(seconds) end

function Relay:stop() end

---@return integer fd
function Relay:fileno() end

---@return integer fd
function Relay:pollfd() end

---@return "r"
function Relay:events() end

---@return number? seconds
function Relay:timeout() end

---@return boolean
function Relay:done() end

---@return outtray.Stats
function Relay:stats() end

function Relay:close() end

---@param limits? outtray.Limits
---@return outtray.Batch? batch
---@return string? message
---@return outtray.Code? code
function Relay:take(limits) end

---@param limits? outtray.Limits
---@return fun(): outtray.Batch?
function Relay:batches(limits) end

---@class outtray.Batch
---@field size integer
local Batch = {}

---@return fun(batch: outtray.Batch): outtray.Event?
---@return outtray.Batch
function Batch:events() end

---@return integer counted
function Batch:ok() end

---@return integer
function Batch:open() end

function Batch:close() end

---@class outtray.Event
---@field id string
---@field topic string
---@field key? string
---@field type? string
---@field headers table<string, string>
---@field payload? string
---@field order string
---@field created_us integer
---@field attempts integer
---@field maybe_duplicate boolean
local Event = {}

---@return boolean counted
function Event:ok() end

---@param ms? number
---@param why? string
---@return boolean counted
function Event:retry(ms, why) end

---@param why? string
---@return boolean counted
function Event:reject(why) end

---@param why? string
---@return boolean counted
function Event:misconfigured(why) end

---@param ms? number
---@param why? string
---@return boolean counted
function Event:unavailable(ms, why) end

return outtray
