-- headers.lua - checks a flat JSON object of strings [RFC 8259]. The rules, and
-- the offsets that are told, are those of libcore/src/event/headers.c.
local text = require "outtray.pure.text"

local byte, char, find, sub = string.byte, string.char, string.find, string.sub
local floor, format = math.floor, string.format

local headers = {}

local MOST = 64
local NAME_MOST = 255

local ESCAPES = {
    ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n",
    r = "\r", t = "\t",
}

local function utf8_of(c)
    if c < 0x80 then
        return char(c)
    elseif c < 0x800 then
        return char(0xc0 + floor(c / 0x40), 0x80 + c % 0x40)
    elseif c < 0x10000 then
        return char(0xe0 + floor(c / 0x1000), 0x80 + floor(c / 0x40) % 0x40,
            0x80 + c % 0x40)
    end
    return char(0xf0 + floor(c / 0x40000), 0x80 + floor(c / 0x1000) % 0x40,
        0x80 + floor(c / 0x40) % 0x40, 0x80 + c % 0x40)
end

local function hex4(s, i)
    local digits = s:match("^%x%x%x%x", i)
    return digits and tonumber(digits, 16)
end

-- The character of XXXX or of a surrogate pair at i, and where it ends; nil: it
-- is none. A NUL is none.
local function unicode(s, i)
    local c = hex4(s, i)

    if not c or c == 0 or c >= 0xdc00 and c <= 0xdfff then
        return nil
    end
    i = i + 4
    if c >= 0xd800 and c <= 0xdbff then
        local low = sub(s, i, i + 1) == "\\u" and hex4(s, i + 2)
        if not low or low < 0xdc00 or low > 0xdfff then
            return nil
        end
        i = i + 6
        c = 0x10000 + (c - 0xd800) * 0x400 + (low - 0xdc00)
    end
    return utf8_of(c), i
end

-- nil: there is an escape that JSON does not know.
local function unescaped(s)
    local parts, from = {}, 1
    local slash = find(s, "\\", 1, true)

    while slash do
        local c, after = sub(s, slash + 1, slash + 1), slash + 2
        parts[#parts + 1] = sub(s, from, slash - 1)
        if c == "u" then
            c, after = unicode(s, after)
        else
            c = ESCAPES[c]
        end
        if not c then
            return nil
        end
        parts[#parts + 1] = c
        from = after
        slash = find(s, "\\", from, true)
    end
    parts[#parts + 1] = sub(s, from)
    return table.concat(parts)
end

-- Reads one thing after the other; p is where it stands (from 1).
local Reader = {}
Reader.__index = Reader

-- Blanks, then this one character.
function Reader:take(c)
    self.p = find(self.s, "[^ \n\r\t]", self.p) or #self.s + 1
    if sub(self.s, self.p, self.p) ~= c then
        return false
    end
    self.p = self.p + 1
    return true
end

-- A string without its quotes, escapes and all; nil: there is none.
function Reader:string()
    if not self:take('"') then
        return nil
    end
    local first = self.p
    while true do
        local at = find(self.s, '[%z\1-\31"\\]', self.p)
        self.p = at or #self.s + 1
        if not at or byte(self.s, at) < 0x20 then
            return nil
        elseif byte(self.s, at) == 0x22 then
            self.p = at + 1
            return sub(self.s, first, at - 1)
        end
        self.p = at + 2
        if at == #self.s then
            self.p = at + 1
            return nil
        end
    end
end

-- Name and value of the next pair; nil: it is none.
function Reader:pair()
    local name = self:string()

    if not name or not self:take(":") then
        return nil
    end
    local value = self:string()
    value = value and unescaped(value)
    name = unescaped(name)
    if not name or not value then
        return nil
    end
    return name, value
end

-- The next name and value, or false after the last; nil: this is not what it must be.
function Reader:next()
    if not self.inside then
        if not self:take("{") then
            return nil
        end
        self.inside = true
        if not self:take("}") then
            return self:pair()
        end
    elseif self:take(",") then
        return self:pair()
    elseif not self:take("}") then
        return nil
    end
    self.p = find(self.s, "[^ \n\r\t]", self.p) or #self.s + 1
    if self.p <= #self.s then
        return nil
    end
    return false
end

local function reserved(name)
    name = name:lower()
    return name == "id" or name == "type" or sub(name, 1, 8) == "outtray-"
end

local function check_name(name, number)
    if name == "" then
        return format("headers: the name of header %d is empty", number),
            "INVALID_EVENT"
    elseif #name > NAME_MOST then
        return format("headers: the name of header %d has %d bytes, at most "
            .. "%d are allowed", number, #name, NAME_MOST), "TOO_LARGE"
    elseif find(name, "[^!-~]") then
        return format("headers: the name of header %d has a character that is "
            .. "not visible ASCII", number), "INVALID_EVENT"
    elseif reserved(name) then
        return format("headers: %s is reserved, the relay writes it: choose "
            .. "another name", name), "INVALID_EVENT"
    end
end

-- nil, or what is wrong and the name of the error.
function headers.check(json, most_bytes)
    if #json > most_bytes then
        return format("headers: %d bytes, at most %d are allowed", #json,
            most_bytes), "TOO_LARGE"
    end
    local at = text.bad_at(json)
    if at and byte(json, at + 1) ~= 0 then
        return format("headers: not UTF-8 at byte %d", at), "INVALID_UTF8"
    end
    local reader = setmetatable({s = json, p = 1}, Reader)
    local seen, n = {}, 0
    local name = reader:next()
    while name do
        if n == MOST then
            return format("headers: at most %d are allowed", MOST), "TOO_LARGE"
        end
        n = n + 1
        local message, code = check_name(name, n)
        if message then
            return message, code
        elseif seen[name] then
            return format("headers: %s is there twice", name), "INVALID_EVENT"
        end
        seen[name] = true
        name = reader:next()
    end
    if name == nil then
        return format("headers: not a flat JSON object of strings, see byte "
            .. '%d: give {"name": "value"}', reader.p - 1), "INVALID_EVENT"
    end
end

-- A table of the headers in JSON.
function headers.decode(json)
    local reader, values = setmetatable({s = json, p = 1}, Reader), {}
    local name, value = reader:next()
    while name do
        values[name] = value
        name, value = reader:next()
    end
    return values
end

return headers
