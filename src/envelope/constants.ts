/** What the rows, the rules and the schema have to agree on. Apart, because the schema is only loaded where it is needed. */

/** How many of the newest entries a retry can find its first attempt among: at full load, more than a second's worth. They are never folded. */
export const ENTRIES_KEPT = 8_192;

/** How many migrations there are: the list itself is only loaded where one is missing. */
export const ENVELOPE_VERSION = 15;
