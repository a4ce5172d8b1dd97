-- lsqlite3.lua - lsqlite3, and lsqlite3complete with a SQLite of its own.
local errors = require "outtray.adapters.errors"

return {
    sqlite3 = errors.sqlite_adapter(function(db, sql)
        if not db:isopen() then
            return errors.closed()
        elseif db:exec(sql) ~= 0 then
            return nil, db:errmsg()
        end
        return true, db:changes()
    end),
}
