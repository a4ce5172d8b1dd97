# Turns ROOT/*/*.sql into OUT, a C file with the table of schema.h.
file(GLOB files RELATIVE ${ROOT} ${ROOT}/*/*.sql)
list(SORT files)
set(code "/* Made from libcore/schema; do not edit. */\n")
string(APPEND code "#include \"store/schema.h\"\n\n")
string(APPEND code "const struct ot_migration ot_migrations[] = {\n")
foreach(file IN LISTS files)
  string(REGEX MATCH "^([^/]+)/0*([0-9]+)_(.*)\\.sql$" matched ${file})
  if(NOT matched)
    message(FATAL_ERROR "${file}: expected STORE/NNNN_name.sql")
  endif()
  set(store ${CMAKE_MATCH_1})
  set(number ${CMAKE_MATCH_2})
  set(name ${CMAKE_MATCH_3})
  # Lines with [ ] or ; would upset CMake's lists: read as hex instead.
  file(READ ${ROOT}/${file} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)"
         "\\1\n        " bytes "${bytes}")
  string(APPEND code "    {\"${store}\", ${number}, \"${name}\",\n"
         "     (const char[]){\n        ${bytes}0}},\n")
endforeach()
string(APPEND code "    {0, 0, 0, 0},\n};\n")
file(WRITE ${OUT} "${code}")
