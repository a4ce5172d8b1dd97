-- pgclient.lua - a client of PostgreSQL with the interface of pgmoon, for the tests:
-- simple queries, text results, no password. On cosockets inside nginx, else on
-- luasocket, or on cqueues (socket_type = "cqueues"). With OUTTRAY_TEST_PGMOON=FOLDER
-- the tests take the real one instead.
local Postgres = {}
Postgres.__index = Postgres

local function int(n)
    return string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 2 ^ 16) % 256,
        math.floor(n / 256) % 256, n % 256)
end

local function number(s, i)
    local a, b, c, d = s:byte(i, i + 3)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

function Postgres:connect()
    local ok, why = self.sock:connect(self.config.host, self.config.port)
    if not ok then
        return nil, why
    end
    if self.sock.getreusedtimes and self.sock:getreusedtimes() > 0 then
        return true
    end
    local words = int(196608) .. "user\0" .. self.config.user .. "\0database\0"
        .. self.config.database .. "\0\0"
    self.sock:send(int(#words + 4) .. words)
    while true do
        local kind, message = self:receive_message()
        if not kind then
            return nil, message
        elseif kind == "E" then
            return nil, self:parse_error(message)
        elseif kind == "Z" then
            return true
        end
    end
end

function Postgres:receive_message()
    local head, why = self.sock:receive(5)
    if not head then
        return nil, "receive_message: failed to get type: " .. tostring(why)
    end
    return head:sub(1, 1), (self.sock:receive(number(head, 2) - 4))
end

function Postgres.parse_error(_, message)
    local severity, text
    for kind, value in message:gmatch("(%a)([^%z]*)%z") do
        if kind == "S" then
            severity = value
        elseif kind == "M" then
            text = value
        end
    end
    return severity .. ": " .. text
end

local function columns_of(message)
    local names, at = {}, 3
    for i = 1, message:byte(1) * 256 + message:byte(2) do
        local stop = message:find("%z", at)
        names[i] = message:sub(at, stop - 1)
        at = stop + 19
    end
    return names
end

local function row_of(message, names)
    local row, at = {}, 3
    for _, name in ipairs(names) do
        local length = number(message, at)
        at = at + 4
        if length < 2 ^ 31 then
            row[name] = message:sub(at, at + length - 1)
            at = at + length
        end
    end
    return row
end

-- Rows, true, or a list of those of several statements.
function Postgres:simple_query(sql)
    if self.busy then
        error("pgmoon: connection is busy")
    end
    self.busy = true
    self.sock:send("Q" .. int(#sql + 5) .. sql .. "\0")
    local results, names, rows, problem = {}, nil, nil, nil
    while true do
        local kind, message = self:receive_message()
        if not kind then
            self.busy = false
            return nil, message
        elseif kind == "T" then
            names, rows = columns_of(message), {}
        elseif kind == "D" then
            rows[#rows + 1] = row_of(message, names)
        elseif kind == "C" then
            results[#results + 1] = rows or true
            rows = nil
        elseif kind == "E" then
            problem = self:parse_error(message)
        elseif kind == "Z" then
            break
        end
    end
    self.busy = false
    if problem then
        return nil, problem
    end
    return #results > 1 and results or results[1] or true
end

Postgres.query = Postgres.simple_query

function Postgres:disconnect()
    self.sock:send("X" .. int(4))
    return self.sock:close()
end

function Postgres:keepalive(...)
    return self.sock:setkeepalive(...)
end

function Postgres:settimeout(...)
    return self.sock:settimeout(...)
end

-- A socket of cqueues with the interface of the others.
local Cqueues = {}
Cqueues.__index = Cqueues

function Cqueues:connect(host, port)
    self.sock = require("cqueues.socket").connect(host, port)
    self.sock:setmode("bn", "bn")
    self.sock:onerror(function(_, _, why) return why end)
    return self.sock:connect()
end

function Cqueues:send(text)
    return self.sock:write(text)
end

function Cqueues:receive(n)
    local text, why = self.sock:read(n)
    return text, why or "closed"
end

function Cqueues:close()
    return self.sock:close()
end

local pgclient = {}

local function new_socket(kind)
    if kind == "cqueues" then
        return setmetatable({}, Cqueues)
    end
    local tcp = rawget(_G, "ngx") and ngx.socket.tcp or require("socket").tcp
    return tcp()
end

function pgclient.new(config)
    local sock = new_socket(config.socket_type)
    return setmetatable({config = config, sock = sock}, Postgres)
end

return pgclient
