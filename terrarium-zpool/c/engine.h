/*
 * The embedded engine: libzpool on one pool file, told what to do by requests.
 *
 * Written from OpenZFS's public headers, its manual pages and what it was seen to do.
 */
#ifndef TERRARIUM_ENGINE_H
#define TERRARIUM_ENGINE_H

/* The order matters: libspl's stand-ins for the kernel first. */
#include <sys/zfs_context.h>

#include <sys/dmu.h>
#include <sys/dmu_objset.h>
#include <sys/dsl_dataset.h>
#include <sys/dsl_dir.h>
#include <sys/dsl_pool.h>
#include <sys/dsl_prop.h>
#include <sys/spa.h>
#include <sys/spa_impl.h>
#include <sys/zap.h>

/* Refused before ZFS is asked: the words for it are the client's. Beyond errno and zfs_errno_t. */
enum refusal {
	/* A stream without large blocks of what holds such blocks: libzpool would abort. */
	REFUSE_NEEDS_LARGE_BLOCKS = 4001,
	/* The file is no pool, or no longer one. */
	REFUSE_NO_POOL = 4002,
	/* Another process has the file. */
	REFUSE_LOCKED = 4003,
	/* The client asked for what this engine does not know. */
	REFUSE_UNKNOWN = 4004,
	/* What it came to does not have the form of a file system that this engine reads. */
	REFUSE_NO_FILESYSTEM = 4005,
};

/* A request being carried out. The thread that has it owns it. */
typedef struct request {
	nvlist_t *in;
	nvlist_t *out;
	/* A file descriptor that came with it, or -1. */
	int fd;
	/* Grows while it gets on, if it was told to be watched; what was told of it to the client. */
	const volatile uint64_t *progress;
	uint64_t told;
	struct request *next;
} request_t;

/* main.c: the client is told again and again that this grows; NULL before it is gone. */
void request_watch(request_t *request, const volatile uint64_t *progress);

/* An operation answers with 0, an errno, a zfs_errno_t or a refusal. */
typedef int operation_t(request_t *);

/* abi.c */
int abi_check(char *why, size_t size);

/* pool.c */
operation_t pool_create, pool_open, pool_close, pool_health;

/* datasets.c */
operation_t dataset_create, dataset_clone, dataset_promote, dataset_rename, dataset_destroy,
    dataset_rollback, dataset_look_up;
operation_t snapshots_destroy, snapshots_space, snapshots_hold, snapshots_release;
operation_t bookmarks_create, bookmarks_destroy;
operation_t run_program;
int set_properties(const char *dataset, nvlist_t *properties, nvlist_t *failed);

/* occupied.c */
operation_t dataset_occupy, dataset_leave;
/* Whether somebody occupies a dataset, and the owner that a rollback has to name then. */
void *occupied_by(dsl_dataset_t *ds);
void *occupant_of(const char *dataset);

/* listing.c */
operation_t list;

/* tree_walk.c, tree_write.c; the rest of what concerns trees is in tree.h */
operation_t tree_walk, tree_write;

/* filesystem.c */
int filesystem_create_in_root(const char *pool);
void filesystem_create(objset_t *os, void *arg, cred_t *cr, dmu_tx_t *tx);

/* streams.c */
operation_t stream_send, stream_estimate, stream_begin, stream_receive;

#endif
