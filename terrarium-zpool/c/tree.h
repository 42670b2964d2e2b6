/*
 * A tree of files as frames in a pipe, the same out of a dataset (tree_walk.c) and into one
 * (tree_write.c).
 *
 * A frame is its kind (4 bytes), the length of what follows (4 bytes), and that. An entry is followed
 * by what belongs to it: target, attributes, content, damage, in this order.
 */
#ifndef TERRARIUM_TREE_H
#define TERRARIUM_TREE_H

#include "engine.h"

enum frame_kind {
	/* A tree_entry_t and the path from the dataset's root; for the root itself it is empty. */
	FRAME_ENTRY = 1,
	/* Where a symbolic link leads to. */
	FRAME_TARGET = 2,
	/* An extended attribute: the length of its name (4 bytes), the name, the value. */
	FRAME_ATTRIBUTE = 3,
	/* Content: its offset (8 bytes) and the bytes. What no such frame holds is zero. */
	FRAME_CONTENT = 4,
	/* An errno (8 bytes): no more of the entry can be read. */
	FRAME_DAMAGE = 5,
	/* One more name for a file: a path as in FRAME_ENTRY, a zero byte, an older path to it. */
	FRAME_LINK = 6,
	/* The tree is whole; a walk tells the number of its entries (8 bytes). */
	FRAME_END = 7,
};

/* The largest piece of content in one frame. */
#define	TREE_PIECE	(256U << 10)
/* More than any attribute, path or piece of content needs. */
#define	TREE_MAX_FRAME	(1U << 20)

typedef struct tree_entry {
	uint64_t object;
	uint64_t mode;
	uint64_t uid;
	uint64_t gid;
	uint64_t size;
	uint64_t links;
	/* As Linux has it on disk: the major number from bit 20 on. */
	uint64_t device;
	/* Written: nonzero if something of that name may be there. */
	uint64_t replace;
	/* Seconds and nanoseconds. */
	uint64_t accessed[2];
	uint64_t modified[2];
	uint64_t changed[2];
} tree_entry_t;

/* Longer paths are of no use to anyone. */
#define	TREE_MAX_PATH	(64U << 10)

/* filesystem.c: the file system of a dataset, as the kernel would lay it out. */
typedef struct filesystem {
	objset_t *os;
	sa_attr_type_t *attributes;
	uint64_t root;
} filesystem_t;

typedef struct new_file {
	tree_entry_t entry;
	uint64_t parent;
	/* Of a symbolic link. */
	void *target;
	size_t target_length;
	/* Extended attributes, as ZPL_DXATTR has them. */
	void *packed;
	size_t packed_length;
} new_file_t;

int filesystem_of(objset_t *os, filesystem_t *fs);
int attributes_size(const new_file_t *file);
int attributes_write(filesystem_t *fs, uint64_t object, const new_file_t *file, boolean_t is_new,
    dmu_tx_t *tx);
int path_lookup(filesystem_t *fs, uint64_t from, const char *path, uint64_t *object);
int path_clean(const uint8_t *from, size_t length, char *to);
void now(uint64_t time[2]);

/* frames.c: the pipe. */
typedef struct frames {
	int fd;
	/* The first error; nothing is written after it. */
	int error;
	size_t used;
	uint8_t *buffer;
	/* What went through, and whose it is. */
	uint64_t bytes;
	request_t *request;
} frames_t;

int frames_open(frames_t *frames, request_t *request);
/* Room for a frame of up to `length` bytes, until the next call. */
uint8_t *frame_reserve(frames_t *frames, size_t length);
void frame_commit(frames_t *frames, enum frame_kind kind, size_t length);
void frame_put(frames_t *frames, enum frame_kind kind, const void *head, size_t head_length,
    const void *rest, size_t rest_length);
void frames_flush(frames_t *frames);
/* The next frame; its bytes are there until the next call. EPIPE at the end of the pipe. */
int frame_next(frames_t *frames, enum frame_kind *kind, uint8_t **bytes, size_t *length);
void frames_close(frames_t *frames);

#endif
