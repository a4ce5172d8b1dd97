/* outtray.i - the raw modules of all languages. See README.md. */
#if defined(SWIGPYTHON)
%module(package="outtray", threads="1") _core
#else
%module core
#endif

%{
#include <stdlib.h>
#include <string.h>

#include "outtray.h"

/* Says in a declaration that the result is only a code. */
typedef int outtray_rc;
%}

/* outtray_conf_new is conf_new in the module. */
%rename("%(strip:[outtray_])s") "";
%rename("%(strip:[OUTTRAY_])s", %$isenumitem) "";
%nodefaultctor;
%nodefaultdtor;

#if defined(SWIGPYTHON)
%include "python/python.i"
#elif defined(SWIGLUA)
%include "lua/lua.i"
#endif

%include "errors.i"
%include "enqueue.i"
%include "sqlite.i"
#if defined(SWIGLUA)
%include "writer.i"
#endif
/* A module of the builder alone has no client library behind it. */
#if !defined(OUTTRAY_BUILD_ONLY)
%include "conf.i"
%include "relay.i"
%include "pump.i"
%include "batch.i"
%include "schema.i"
%include "cli.i"
#endif
