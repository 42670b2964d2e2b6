/*
 * The loop: requests come in on a socket, each is carried out by a thread of its own.
 *
 * A message is the length of what follows (4 bytes, this machine's order) and a packed nvlist. A
 * request has "id" and "op"; its answer has the same "id" and "errno". The first bytes of a request
 * may carry a file descriptor.
 */
#include "engine.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/arc_impl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the client must know of. It grows with every change that an older one would not understand. */
#define	PROTOCOL	2

/* Many names; content goes through descriptors. */
#define	MAX_MESSAGE	(80U << 20)

/* Enough for small pools; the rest of the machine is the caller's. Smaller ones are ignored. */
#define	ARC_MIN_BYTES	(32UL << 20)
#define	ARC_MAX_BYTES	(64UL << 20)
/* What may wait to be written; a tenth of the machine otherwise. */
#define	DIRTY_MAX_BYTES	(32UL << 20)

static int channel = STDIN_FILENO;
static pthread_mutex_t out_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t running_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t running_less = PTHREAD_COND_INITIALIZER;
static request_t *running;
static unsigned answering;

/* How often the client is told that a request gets on. */
#define	TICK_MICROSECONDS	250000

static const struct {
	const char *name;
	operation_t *run;
} operations[] = {
	{ "create-pool", pool_create },
	{ "open-pool", pool_open },
	{ "pool-health", pool_health },
	{ "list", list },
	{ "look-up", dataset_look_up },
	{ "create", dataset_create },
	{ "clone", dataset_clone },
	{ "promote", dataset_promote },
	{ "rename", dataset_rename },
	{ "destroy", dataset_destroy },
	{ "rollback", dataset_rollback },
	{ "occupy", dataset_occupy },
	{ "leave", dataset_leave },
	{ "destroy-snapshots", snapshots_destroy },
	{ "space", snapshots_space },
	{ "hold", snapshots_hold },
	{ "release", snapshots_release },
	{ "bookmark", bookmarks_create },
	{ "destroy-bookmarks", bookmarks_destroy },
	{ "program", run_program },
	{ "walk", tree_walk },
	{ "write", tree_write },
	{ "send", stream_send },
	{ "estimate", stream_estimate },
	{ "read-begin", stream_begin },
	{ "receive", stream_receive },
};

static int
read_all(void *buffer, size_t length)
{
	for (size_t done = 0; done < length; ) {
		ssize_t n = read(channel, (char *)buffer + done, length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (-1);
		done += n;
	}
	return (0);
}

static int
write_all(const void *buffer, size_t length)
{
	for (size_t done = 0; done < length; ) {
		ssize_t n = write(channel, (const char *)buffer + done, length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return (-1);
		done += n;
	}
	return (0);
}

/* The length, and the descriptor that may come with its first byte. */
static int
read_length(uint32_t *length, int *fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof (int))];
	} control;
	struct iovec piece = { length, sizeof (*length) };
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof (control.room),
	};
	ssize_t n;

	*fd = -1;
	do {
		n = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return (-1);
	struct cmsghdr *first = CMSG_FIRSTHDR(&message);
	if (first != NULL && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS)
		(void) memcpy(fd, CMSG_DATA(first), sizeof (int));
	return (read_all((char *)length + n, sizeof (*length) - n));
}

static request_t *
read_request(void)
{
	uint32_t length;
	int fd;

	if (read_length(&length, &fd) != 0 || length > MAX_MESSAGE)
		return (NULL);
	char *packed = malloc(length);
	request_t *request = calloc(1, sizeof (*request));
	if (packed == NULL || request == NULL || read_all(packed, length) != 0 ||
	    nvlist_unpack(packed, length, &request->in, 0) != 0)
		return (NULL);
	free(packed);
	request->out = fnvlist_alloc();
	request->fd = fd;
	return (request);
}

static void
answer(nvlist_t *message)
{
	size_t length;
	char *packed = fnvlist_pack(message, &length);
	uint32_t prefix = length;

	(void) pthread_mutex_lock(&out_lock);
	/* With nobody to read it there is nothing to do: the loop ends at the end of the requests. */
	if (write_all(&prefix, sizeof (prefix)) == 0)
		(void) write_all(packed, length);
	(void) pthread_mutex_unlock(&out_lock);
	fnvlist_pack_free(packed, length);
}

void
request_watch(request_t *request, const volatile uint64_t *progress)
{
	(void) pthread_mutex_lock(&running_lock);
	request->progress = progress;
	(void) pthread_mutex_unlock(&running_lock);
}

static void
tell_progress(request_t *request)
{
	nvlist_t *message = fnvlist_alloc();
	uint64_t id = 0;

	(void) nvlist_lookup_uint64(request->in, "id", &id);
	fnvlist_add_uint64(message, "id", id);
	fnvlist_add_uint64(message, "progress", request->told);
	answer(message);
	nvlist_free(message);
}

/* A client cannot tell what hangs from what takes long; this can. */
static void *
tick(void *arg)
{
	for (;;) {
		(void) usleep(TICK_MICROSECONDS);
		(void) pthread_mutex_lock(&running_lock);
		for (request_t *at = running; at != NULL; at = at->next) {
			if (at->progress != NULL && *at->progress != at->told) {
				at->told = *at->progress;
				tell_progress(at);
			}
		}
		(void) pthread_mutex_unlock(&running_lock);
	}
	return (arg);
}

static void
finish(request_t *request, int error)
{
	uint64_t id = 0;

	(void) nvlist_lookup_uint64(request->in, "id", &id);
	fnvlist_add_uint64(request->out, "id", id);
	fnvlist_add_uint64(request->out, "errno", error);
	/* The other end must see the end of a stream before the answer. */
	if (request->fd >= 0)
		(void) close(request->fd);
	answer(request->out);
	nvlist_free(request->in);
	nvlist_free(request->out);
	free(request);
}

static void *
carry_out(void *arg)
{
	request_t *request = arg;
	char *name = "";
	int error = REFUSE_UNKNOWN;

	(void) nvlist_lookup_string(request->in, "op", &name);
	for (size_t i = 0; i < sizeof (operations) / sizeof (operations[0]); i++) {
		if (strcmp(operations[i].name, name) == 0)
			error = operations[i].run(request);
	}
	/* Unlisted before it is freed, and before its answer: no word of it comes after that. */
	(void) pthread_mutex_lock(&running_lock);
	for (request_t **at = &running; *at != NULL; at = &(*at)->next) {
		if (*at == request) {
			*at = request->next;
			break;
		}
	}
	answering++;
	(void) pthread_mutex_unlock(&running_lock);
	finish(request, error);
	(void) pthread_mutex_lock(&running_lock);
	answering--;
	(void) pthread_cond_signal(&running_less);
	(void) pthread_mutex_unlock(&running_lock);
	return (NULL);
}

static void
start(request_t *request)
{
	pthread_t thread;

	(void) pthread_mutex_lock(&running_lock);
	request->next = running;
	running = request;
	(void) pthread_mutex_unlock(&running_lock);
	if (pthread_create(&thread, NULL, carry_out, request) != 0)
		abort();
	(void) pthread_detach(thread);
}

static void
wait_for_all(void)
{
	(void) pthread_mutex_lock(&running_lock);
	while (running != NULL || answering > 0)
		(void) pthread_cond_wait(&running_less, &running_lock);
	(void) pthread_mutex_unlock(&running_lock);
}

static void
greet(void)
{
	nvlist_t *hello = fnvlist_alloc();
	char why[256] = "";
	int error = abi_check(why, sizeof (why));

	fnvlist_add_uint64(hello, "id", 0);
	fnvlist_add_uint64(hello, "errno", error);
	fnvlist_add_uint64(hello, "protocol", PROTOCOL);
	fnvlist_add_string(hello, "why", why);
	answer(hello);
	nvlist_free(hello);
	if (error != 0)
		_exit(0);
}

/* Nothing of ZFS runs in the process before the library is known to be the right one. */
static void
set_up(void)
{
	struct rlimit none = { 0, 0 };

	(void) signal(SIGPIPE, SIG_IGN);
	/* A failed assertion is told by its text; the pool's memory need not fill the disk. */
	(void) setrlimit(RLIMIT_CORE, &none);
	/* Requests come on a descriptor that nobody else uses by mistake. */
	channel = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (channel < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0)
		_exit(1);
	greet();
	zfs_arc_min = ARC_MIN_BYTES;
	zfs_arc_max = ARC_MAX_BYTES;
	zfs_dirty_data_max = DIRTY_MAX_BYTES;
	/* Never the cache of the kernel's pools. */
	spa_config_path = "/dev/null/no-cache";
	kernel_init(SPA_MODE_READ | SPA_MODE_WRITE);
}

int
terrarium_zpool_main(void)
{
	request_t *request;
	pthread_t ticker;

	set_up();
	if (pthread_create(&ticker, NULL, tick, NULL) != 0)
		abort();
	while ((request = read_request()) != NULL) {
		char *name = "";
		(void) nvlist_lookup_string(request->in, "op", &name);
		if (strcmp(name, "close-pool") != 0) {
			start(request);
			continue;
		}
		wait_for_all();
		int error = pool_close(request);
		finish(request, error);
	}
	/* The client is gone. What runs is finished, if it comes to an end; nothing waits longer. */
	(void) alarm(30);
	wait_for_all();
	(void) pool_close(NULL);
	/* All is on disk: kernel_fini would only free memory, and takes a second for it. */
	_exit(0);
}
