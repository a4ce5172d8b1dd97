-- adapters - how a statement is executed on a connection of each driver, and
-- whether it has a transaction open.
--
-- An adapter has its dialect and execute(conn, sql, required), which returns true and
-- the number of rows that were inserted, or nil, a message, the name of an error and,
-- where the driver has it, SQLSTATE.
-- No driver tells whether a transaction is open. So PostgreSQL is asked for a
-- savepoint first, which only a transaction can have, and SQLite for another
-- transaction, which only a connection without one can have.
local adapters = {}

-- How a connection that is no table calls itself.
local NAMES = {
    {"^PostgreSQL connection", "luasql", "postgres"},
    {"^SQLite3 connection", "luasql", "sqlite3"},
    {"^DBD%.PostgreSQL%.Connection", "luadbi", "postgresql"},
    {"^DBD%.SQLite3%.Connection", "luadbi", "sqlite3"},
    {"^sqlite database", "lsqlite3", "sqlite3"},
}

local TAKES = "a connection is one of luasql, luadbi, lsqlite3 or pgmoon"

local pgmoon -- loaded where it is needed, and looked up once

local function of_table(conn)
    if type(conn._get_connection) == "function" then
        return nil, "a PostgresPool sends each query by any of its "
            .. "connections, so that BEGIN and the event may not meet: take "
            .. "one connection, pgmoon.new(…)"
    elseif type(conn.simple_query) == "function"
        and conn.receive_message then
        pgmoon = pgmoon or require "outtray.adapters.pgmoon"
        return pgmoon
    end
    return nil, TAKES .. ", not this table"
end

-- The adapter of a connection; nil and what is wrong with it.
function adapters.find(conn)
    if type(conn) == "table" then
        return of_table(conn)
    elseif type(conn) ~= "userdata" then
        return nil, TAKES .. ", not a " .. type(conn)
    end
    local name = tostring(conn)
    for _, known in ipairs(NAMES) do
        if name:find(known[1]) then
            return require("outtray.adapters." .. known[2])[known[3]]
        end
    end
    return nil, TAKES .. ", not " .. name:gsub(" ?%(?0x%x+%)?$", "")
end

return adapters
