-- text.lua - is it UTF-8? The rules of libcore/src/base/text.c.
local byte, find = string.byte, string.find

local text = {}

-- What is not plain: NUL and all that is not ASCII.
local SPECIAL = "[%z\128-\255]"

-- Length of the well-formed sequence at i, 0 if there is none.
local function sequence(s, i)
    local a, b, c, d = byte(s, i, i + 3)
    local low, high = 0x80, 0xbf
    local length

    if a >= 0xc2 and a <= 0xdf then
        length = 2
    elseif a >= 0xe0 and a <= 0xef then
        length = 3
        if a == 0xe0 then
            low = 0xa0 -- overlong
        elseif a == 0xed then
            high = 0x9f -- surrogates
        end
    elseif a >= 0xf0 and a <= 0xf4 then
        length = 4
        if a == 0xf0 then
            low = 0x90 -- overlong
        elseif a == 0xf4 then
            high = 0x8f -- above U+10FFFF
        end
    else
        return 0
    end
    if not b or b < low or b > high
        or length > 2 and not (c and c >= 0x80 and c <= 0xbf)
        or length > 3 and not (d and d >= 0x80 and d <= 0xbf) then
        return 0
    end
    return length
end

-- The offset (from 0) of the first byte that a database's text cannot hold;
-- nil: there is none.
function text.bad_at(s)
    local i = find(s, SPECIAL)

    while i do
        local length = sequence(s, i)
        if length == 0 then
            return i - 1
        end
        i = find(s, SPECIAL, i + length)
    end
end

-- The same text with a question mark for every byte that is not UTF-8.
function text.repaired(s)
    local at = text.bad_at(s)

    while at do
        s = s:sub(1, at) .. "?" .. s:sub(at + 2)
        at = text.bad_at(s)
    end
    return s
end

return text
