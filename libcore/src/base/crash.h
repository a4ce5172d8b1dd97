/* crash.h - places where a test kills the process.
 *
 * Every step after which a database, a broker or a file may know something
 * that the rest does not know yet has a name. A build with
 * OUTTRAY_CRASH_POINTS (the one of the tests) dies there, as by SIGKILL, when
 * the environment says
 *
 *     OUTTRAY_CRASH_AT=17              at the 17th point that is passed
 *     OUTTRAY_CRASH_AT=write.asked:3   the third time that this one is passed
 *
 * In any other build a point is nothing at all.
 */
#ifndef OT_CRASH_H
#define OT_CRASH_H

#ifdef OUTTRAY_CRASH_POINTS
/* @thread any */
void ot_crash_point(const char *name);
#else
#define ot_crash_point(name) ((void)(name))
#endif

#endif
