/** How often the mirror runs where nothing else is said: as in `src/settings.ts`, which `test/node/simulate.test.ts` holds it against. */
export const PACE = { wait_ms: 1_000, apart_ms: 7_000 } as const;
