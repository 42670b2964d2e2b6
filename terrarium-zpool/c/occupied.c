/*
 * Datasets that somebody is in, as a mount is: they can be renamed and rolled back, but not
 * destroyed.
 */
#include "engine.h"

#include <pthread.h>

typedef struct occupant {
	struct occupant *next;
	dsl_dataset_t *ds;
	uint64_t ticket;
} occupant_t;

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static occupant_t *occupants;
static uint64_t tickets;

int
dataset_occupy(request_t *request)
{
	char *name = fnvlist_lookup_string(request->in, "dataset");
	occupant_t *new = calloc(1, sizeof (*new));
	dsl_pool_t *dp;
	int error = dsl_pool_hold(name, FTAG, &dp);

	if (error == 0) {
		error = dsl_dataset_own(dp, name, DS_HOLD_FLAG_NONE, new, &new->ds);
		dsl_pool_rele(dp, FTAG);
	}
	if (error != 0) {
		free(new);
		return (error);
	}
	(void) pthread_mutex_lock(&guard);
	new->ticket = ++tickets;
	new->next = occupants;
	occupants = new;
	fnvlist_add_uint64(request->out, "ticket", new->ticket);
	(void) pthread_mutex_unlock(&guard);
	return (0);
}

int
dataset_leave(request_t *request)
{
	uint64_t ticket = fnvlist_lookup_uint64(request->in, "ticket");
	occupant_t *found = NULL;

	(void) pthread_mutex_lock(&guard);
	for (occupant_t **at = &occupants; *at != NULL; at = &(*at)->next) {
		if ((*at)->ticket == ticket) {
			found = *at;
			*at = found->next;
			break;
		}
	}
	(void) pthread_mutex_unlock(&guard);
	if (found == NULL)
		return (ENOENT);
	dsl_dataset_disown(found->ds, DS_HOLD_FLAG_NONE, found);
	free(found);
	return (0);
}

void *
occupied_by(dsl_dataset_t *ds)
{
	void *found = NULL;

	(void) pthread_mutex_lock(&guard);
	for (occupant_t *at = occupants; at != NULL && found == NULL; at = at->next)
		found = at->ds == ds ? at : NULL;
	(void) pthread_mutex_unlock(&guard);
	return (found);
}

void *
occupant_of(const char *dataset)
{
	void *found = NULL;
	dsl_pool_t *dp;
	dsl_dataset_t *ds;

	if (dsl_pool_hold(dataset, FTAG, &dp) != 0)
		return (NULL);
	if (dsl_dataset_hold(dp, dataset, FTAG, &ds) == 0) {
		found = occupied_by(ds);
		dsl_dataset_rele(ds, FTAG);
	}
	dsl_pool_rele(dp, FTAG);
	return (found);
}
