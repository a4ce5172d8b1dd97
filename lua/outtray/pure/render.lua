-- render.lua - one INSERT of events, as libcore/src/enqueue/postgres.c, sqlite.c and
-- render.c write it; the reasons for its shapes are told there.
local check = require "outtray.pure.check"

local find, floor, format = string.find, math.floor, string.format
local concat = table.concat

local render = {}

local HEX = {}
for i = 0, 255 do
    HEX[string.char(i)] = format("%02x", i)
end

local function hex(bytes)
    return (bytes:gsub(".", HEX))
end

-- --- values -----------------------------------------------------------------

local Writer = {}
Writer.__index = Writer

function Writer:sql(text)
    self.parts[#self.parts + 1] = text
end

local PLACEHOLDERS = {
    dollar = function(n) return format("$%d", n) end,
    percent = function() return "%s" end,
    qmark = function() return "?" end,
}

local function plain(value)
    return not find(value, "[%z\\\128-\255]")
end

local function quoted(value)
    return "'" .. value:gsub("'", "''") .. "'"
end

-- Text as a literal.
function render.literal(dialect, value)
    if dialect == "sqlite" or plain(value) then
        return quoted(value)
    end
    return "convert_from(decode('" .. hex(value) .. "', 'hex'), 'UTF8')"
end

-- A parameter of a kind: n(il), t(ext), b(ytes).
function Writer:placeholder(kind, value)
    local params = self.params

    params.n = params.n + 1
    params[params.n] = value
    params.kinds = params.kinds .. (value == nil and "n" or kind)
    self:sql(PLACEHOLDERS[self.style](params.n))
end

function Writer:text(value)
    if self.style ~= "literal" then
        self:placeholder("t", value)
    elseif value == nil then
        self:sql("NULL")
    else
        self:sql(render.literal(self.dialect, value))
    end
end

function Writer:bytes(value)
    if self.style ~= "literal" then
        self:placeholder("b", value)
    elseif value == nil then
        self:sql("NULL")
    elseif self.dialect == "sqlite" then
        self:sql("X'" .. hex(value) .. "'")
    elseif plain(value) then
        self:sql(quoted(value))
    else
        self:sql("decode('" .. hex(value) .. "', 'hex')")
    end
end

-- A value of text with what stands after it.
function Writer:cast(value, cast)
    self:text(value)
    self:sql(cast)
end

-- The same; a literal has the type of its column.
function Writer:column(value, cast, after)
    self:text(value)
    self:sql(self.style == "literal" and after or cast .. after)
end

-- --- PostgreSQL -------------------------------------------------------------

-- Of the days since 1970: year, month, day.
local function civil(days)
    local z = days + 719468
    local era = floor(z / 146097)
    local doe = z % 146097
    local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524)
        - floor(doe / 146096)) / 365)
    local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
    local mp = floor((5 * doy + 2) / 153)
    local day = doy - floor((153 * mp + 2) / 5) + 1
    local month = mp < 10 and mp + 3 or mp - 9
    return yoe + era * 400 + (month <= 2 and 1 or 0), month, day
end

local function timestamp(event)
    local digits = check.moment(event)
    if not digits then
        return nil
    end
    local seconds = tonumber(digits:sub(1, -7))
    local year, month, day = civil(floor(seconds / 86400))
    local rest = seconds % 86400
    return format("%04d-%02d-%02dT%02d:%02d:%02d.%sZ", year, month, day,
        floor(rest / 3600), floor(rest / 60) % 60, rest % 60, digits:sub(-6))
end

local function insert_into(w)
    w:sql('INSERT INTO "' .. w.outbox .. '".event (id, topic, key, type, '
        .. "headers, payload, deliver_at) ")
end

local function postgres_one(w, event, id)
    insert_into(w)
    w:sql(w.strict and "SELECT " or "VALUES (")
    w:column(id, "::text::uuid", ", ")
    w:column(event.topic, "::text", ", ")
    if w.strict then
        w:sql("l.key, ")
    else
        w:column(event.key, "::text", ", ")
    end
    w:column(event.type, "::text", ", ")
    w:text(event.headers)
    if w.style ~= "literal" then
        w:sql("::text::json, ")
    else
        w:sql(event.headers and "::json, " or ", ")
    end
    w:bytes(event.payload)
    w:sql(w.style == "literal" and ", " or "::bytea, ")
    w:column(timestamp(event), "::text::timestamptz", w.strict and "" or ")")
    if not w.strict then
        return
    end
    w:sql(" FROM (SELECT k.key, pg_advisory_xact_lock(hashtextextended(k.key, "
        .. "0)) FROM (SELECT ")
    w:cast(event.key, "::text AS key) k) l")
end

local CASTS = {
    "uuid", "text", "text", "text", "json", "integer", "integer", "timestamptz",
}

local function element(value)
    if value == nil then
        return "NULL"
    end
    return '"' .. value:gsub('["\\]', "\\%0") .. '"'
end

-- One array of each column; the payloads are one value, which the server cuts.
local function arrays(events, ids)
    local columns, payloads, first = {}, {}, 1

    for c = 1, #CASTS do
        columns[c] = {}
    end
    for i, e in ipairs(events) do
        local row = {
            element(ids[i]), element(e.topic), element(e.key), element(e.type),
            element(e.headers), format("%d", first),
            e.payload and format("%d", #e.payload) or "NULL",
            element(timestamp(e)),
        }
        for c, value in ipairs(row) do
            columns[c][i] = value
        end
        payloads[i] = e.payload or ""
        first = first + #payloads[i]
    end
    for c = 1, #CASTS do
        columns[c] = "{" .. concat(columns[c], ",") .. "}"
    end
    return columns, concat(payloads)
end

local function from_arrays(w, columns)
    w:sql("unnest(")
    for c, cast in ipairs(CASTS) do
        w:cast(columns[c], "::text::" .. cast .. "[]" .. (c < #CASTS and ", " or ""))
    end
    w:sql(") WITH ORDINALITY AS u(id, topic, key, type, headers, first, size, "
        .. "deliver_at, n)")
end

local function select_rows(w, payloads)
    w:sql("SELECT u.id, u.topic, u.key, u.type, u.headers, substring(")
    w:bytes(payloads)
    w:sql("::bytea FROM u.first FOR u.size), u.deliver_at FROM ")
end

local function postgres_many(w, events, ids)
    local columns, payloads = arrays(events, ids)

    if not w.strict then
        insert_into(w)
        select_rows(w, payloads)
        from_arrays(w, columns)
        w:sql(" ORDER BY u.n")
        return
    end
    w:sql("WITH u AS MATERIALIZED (SELECT * FROM ")
    from_arrays(w, columns)
    w:sql("), l AS MATERIALIZED (SELECT count(pg_advisory_xact_lock(k.lock)) "
        .. "FROM (SELECT DISTINCT hashtextextended(u.key, 0) AS lock FROM u "
        .. "WHERE u.key IS NOT NULL ORDER BY 1) k) ")
    insert_into(w)
    select_rows(w, payloads)
    w:sql("u CROSS JOIN l ORDER BY u.n")
end

-- --- SQLite -----------------------------------------------------------------

local function sqlite(w, events, ids)
    w:sql('INSERT INTO "' .. w.outbox .. '_event" (id, topic, key, type, '
        .. "headers, payload, deliver_at) VALUES ")
    for i, event in ipairs(events) do
        w:sql(i > 1 and ", (" or "(")
        w:cast(ids[i], ", ")
        w:cast(event.topic, ", ")
        w:cast(event.key, ", ")
        w:cast(event.type, ", ")
        w:cast(event.headers, ", ")
        w:bytes(event.payload)
        w:sql(", CAST(")
        w:cast(check.moment(event), " AS INTEGER))")
    end
end

-- SQL, and the parameters (nil for literals).
function render.insert(options, events, ids)
    local w = setmetatable({
        parts = {},
        params = {n = 0, kinds = ""},
        style = options.style,
        dialect = options.dialect,
        outbox = options.outbox,
        strict = options.strict,
    }, Writer)

    if w.dialect == "sqlite" then
        sqlite(w, events, ids)
    elseif #events == 1 then
        postgres_one(w, events[1], ids[1])
    else
        postgres_many(w, events, ids)
    end
    return concat(w.parts), w.params.n > 0 and w.params or nil
end

return render
