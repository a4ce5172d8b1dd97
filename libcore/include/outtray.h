/** @file outtray.h - the transactional outbox engine: everything at once.
 *
 * Since: all of it is there from version 0.1 on.
 */
#ifndef OUTTRAY_H
#define OUTTRAY_H

#include "outtray/types.h"
#include "outtray/error.h"
#include "outtray/conf.h"
#include "outtray/enqueue.h"
#include "outtray/writer.h"
#include "outtray/relay.h"
#include "outtray/batch.h"
#include "outtray/schema.h"
#include "outtray/sqlite.h"
#include "outtray/cli.h"

#endif
