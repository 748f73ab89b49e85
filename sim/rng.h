/* SPDX-License-Identifier: Apache-2.0 */
/* Randomness of a seed: a stream for the swarm, and a hash of (seed, place) for the world, so that what is
 * drawn in one place does not change when something elsewhere happens or is left out. */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint64_t rng_next(struct rng *rng)
{
	return rng_mix(rng->state += UINT64_C(0x9e3779b97f4a7c15));
}

/* 0..n-1; n > 0. The bias of the modulus is below 2^-40 for what is drawn here. */
static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
	return rng_next(rng) % n;
}

static inline uint64_t rng_range(struct rng *rng, uint64_t low, uint64_t high)
{
	return low + rng_below(rng, high - low + 1);
}

static inline bool rng_permille(struct rng *rng, uint32_t permille)
{
	return rng_below(rng, 1000) < permille;
}

/* The same place of the same seed always gives the same number. */
static inline uint64_t rng_at(uint64_t seed, uint64_t place, uint64_t a, uint64_t b)
{
	return rng_mix(seed + place * UINT64_C(0x9e3779b97f4a7c15) + rng_mix(a * UINT64_C(0xd1342543de82ef95) + b + 1));
}

#endif
