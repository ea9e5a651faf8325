/*
 * All of Lamina's public headers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_LAMINA_H
#define LAMINA_LAMINA_H

#include "lamina/allocator.h"
#include "lamina/augment.h"
#include "lamina/checkpoint.h"
#include "lamina/clock.h"
#include "lamina/collective.h"
#include "lamina/compressor.h"
#include "lamina/costs.h"
#include "lamina/dataset.h"
#include "lamina/dtype.h"
#include "lamina/evaluator.h"
#include "lamina/feedback.h"
#include "lamina/generator.h"
#include "lamina/graph.h"
#include "lamina/hash.h"
#include "lamina/import.h"
#include "lamina/inspect.h"
#include "lamina/log.h"
#include "lamina/loss.h"
#include "lamina/memory.h"
#include "lamina/model.h"
#include "lamina/node.h"
#include "lamina/ops.h"
#include "lamina/optimizer.h"
#include "lamina/parameters.h"
#include "lamina/partition.h"
#include "lamina/plan.h"
#include "lamina/random.h"
#include "lamina/reducer.h"
#include "lamina/reduction.h"
#include "lamina/results.h"
#include "lamina/schedule.h"
#include "lamina/sparse.h"
#include "lamina/spec.h"
#include "lamina/status.h"
#include "lamina/task.h"
#include "lamina/trace.h"
#include "lamina/trainer.h"
#include "lamina/tuning.h"
#include "lamina/version.h"
#include "lamina/vocabulary.h"
#include "lamina/world.h"

#endif
