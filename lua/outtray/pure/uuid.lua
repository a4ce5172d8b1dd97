-- uuid.lua - ids: UUIDs of version 7 [RFC 9562], as libcore/src/base/uuid.c makes
-- them, from what randomness and clock this Lua has.
local byte, format = string.byte, string.format
local floor = math.floor

local uuid = {}

local SHAPE = "^" .. ("%x"):rep(8) .. "%-" .. ("%x"):rep(4) .. "%-"
    .. ("%x"):rep(4) .. "%-" .. ("%x"):rep(4) .. "%-" .. ("%x"):rep(12) .. "$"

function uuid.is(s)
    return #s == 36 and s:find(SHAPE) ~= nil
end

-- --- where randomness and time come from ------------------------------------

local RANDOM = 10 -- bytes of an id

-- libc through LuaJIT's ffi; the names are ours, so that they are in nobody's
-- way.
local function by_ffi()
    if type(rawget(_G, "jit")) ~= "table" then
        return nil
    end
    local ok, ffi = pcall(require, "ffi")
    if not ok then
        return nil
    end
    ok = pcall(ffi.cdef, [[
        int outtray_getentropy(void *, size_t) __asm__("getentropy");
        int outtray_clock_gettime(int, void *) __asm__("clock_gettime");
    ]])
    ok = ok and pcall(function()
        return ffi.C.outtray_getentropy and ffi.C.outtray_clock_gettime
    end)
    return ok and ffi or nil
end

local ffi = by_ffi()
local random, milliseconds

if ffi then
    local bytes, moment = ffi.new("uint8_t[?]", RANDOM), ffi.new("long[2]")

    function random()
        if ffi.C.outtray_getentropy(bytes, RANDOM) ~= 0 then
            return nil
        end
        return ffi.string(bytes, RANDOM)
    end

    function milliseconds()
        ffi.C.outtray_clock_gettime(0, moment)
        return tonumber(moment[0]) * 1000 + floor(tonumber(moment[1]) / 1e6)
    end
else
    local file

    -- Without a buffer: after a fork two processes would share its bytes.
    function random()
        if not file then
            file = io.open("/dev/urandom", "rb")
            if not file then
                return nil
            end
            file:setvbuf("no")
        end
        local bytes = file:read(RANDOM)
        return bytes and #bytes == RANDOM and bytes or nil
    end

    -- Seconds are good enough where there is nothing finer: the clock orders
    -- nothing, it only tells about when an event was made.
    function milliseconds()
        local socket = package.loaded.socket
        return socket and floor(socket.gettime() * 1000) or os.time() * 1000
    end
end

-- For tests.
uuid.random, uuid.milliseconds = random, milliseconds

-- --- ids --------------------------------------------------------------------

-- A new millisecond starts its counter at random in the lower half of 12 bits.
local function fresh_counter(bytes)
    return byte(bytes, 1) % 8 * 256 + byte(bytes, 2)
end

-- source is a table for the ids of one batch, which ascend. nil: there is no
-- randomness.
function uuid.next(source)
    local bytes, ms = uuid.random(), uuid.milliseconds()

    if not bytes then
        return nil
    end
    if ms > (source.ms or 0) then
        source.ms, source.counter = ms, fresh_counter(bytes)
    elseif source.counter == 4095 then
        source.ms, source.counter = source.ms + 1, fresh_counter(bytes)
    else
        source.counter = source.counter + 1
    end
    local time = format("%012x", source.ms)
    local a, b, c, d, e, f, g, h = byte(bytes, 3, 10)
    return format("%s-%s-7%03x-%02x%02x-%02x%02x%02x%02x%02x%02x",
        time:sub(1, 8), time:sub(9), source.counter, 0x80 + a % 0x40, b, c, d,
        e, f, g, h)
end

return uuid
