-- headers.lua - headers become JSON, a flat object of strings.
local format = string.format

local headers = {}

local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\"}

local function escape(c)
    return ESCAPES[c] or format("\\u%04x", c:byte())
end

local function quoted(s)
    return '"' .. s:gsub('[%z\1-\31"\\]', escape) .. '"'
end

-- The JSON of a table of strings, names in order; nil for an empty one; false
-- and what is wrong.
function headers.encode(values)
    local names, parts = {}, {}

    for name, value in pairs(values) do
        if type(name) ~= "string" or type(value) ~= "string" then
            return false, format("header %s: names and values must be strings, "
                .. "not a %s", tostring(name), type(type(name) ~= "string"
                and name or value))
        end
        names[#names + 1] = name
    end
    if #names == 0 then
        return nil
    end
    table.sort(names)
    for i, name in ipairs(names) do
        parts[i] = quoted(name) .. ":" .. quoted(values[name])
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

return headers
