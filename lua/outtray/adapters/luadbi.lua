-- luadbi.lua - LuaDBI: PostgreSQL and SQLite3. It prepares all it executes, so a
-- statement of PostgreSQL is alone in its message.
local errors = require "outtray.adapters.errors"

-- true and the number of rows, or nil and a message.
local function run(conn, sql)
    local fine, statement, message = pcall(conn.prepare, conn, sql)
    if fine and not statement and message == "Database not available" then
        return errors.closed()
    elseif not fine or not statement then
        return nil, tostring(not fine and statement or message)
    end
    local executed, done, why = pcall(statement.execute, statement)
    local rows = executed and done and statement:affected()
    pcall(statement.close, statement)
    if executed and done then
        return true, rows
    end
    return nil, tostring(not executed and done or why)
end

local postgresql = {dialect = "POSTGRESQL"}

local function each(conn, statements)
    local done, message, code
    for _, sql in ipairs(statements) do
        done, message, code = run(conn, sql)
        if code then
            return nil, message, code
        elseif not done then
            return errors.of_postgres(message)
        end
    end
    return true, message
end

function postgresql.execute(conn, sql, required)
    if required then
        return each(conn, {"SAVEPOINT outtray", "RELEASE outtray", sql})
    end
    return each(conn, {sql})
end

return {postgresql = postgresql, sqlite3 = errors.sqlite_adapter(run)}
