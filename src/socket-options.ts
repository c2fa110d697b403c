/** Options of metered sockets: their types, their defaults, and the one place where they are checked. */
import { type Currency, type Micros, type Price, parsePrice } from "./money.js";

/** How a metered socket is kept. In `options.sockets` for all of them, in a rate's `socket` for one. */
export interface SocketOptions {
  /** A frame longer than this closes the socket (1009), either way. Default 1,048,576 bytes. */
  readonly maxMessageBytes?: number | undefined;
  /** Without a frame either way for so long, it is closed (1008). 0: never. Default 600. */
  readonly idleSeconds?: number | undefined;
  /** After so long it is closed (1000). 0: never. Default 0. */
  readonly maxSeconds?: number | undefined;
  /**
   * Without money, nothing is delivered and no time is charged for so long; a top-up goes on with it. Then it is closed (4402).
   * 0: it is closed at once. Default 0.
   */
  readonly pauseSeconds?: number | undefined;
  /**
   * Tells the client every so many seconds what the socket cost, and when the balance is low, used up, or enough again: text frames
   * of JSON whose `type` begins with `envelope.`. 0: never, because the socket is the app's. Default 0.
   */
  readonly updateSeconds?: number | undefined;
  /** `envelope.low` is told when less than this is left. Default: what thirty seconds, messages and kilobytes cost. */
  readonly lowBalance?: Price | undefined;
}

export interface SocketsOptions extends SocketOptions {
  /** Origins whose pages may open a socket with the holder's cookie, besides the Worker's own. Default: those of `options.cors`. */
  readonly origins?: readonly string[] | undefined;
  /** How many metered bodies and sockets of one envelope may be open when another socket is asked for. Default 64. */
  readonly maxPerEnvelope?: number | undefined;
}

export interface ResolvedSocket {
  readonly message_bytes_max: number;
  /** Infinite for never. */
  readonly idle_ms: number;
  readonly duration_ms: number;
  readonly pause_ms: number;
  readonly update_ms: number;
  readonly low_micros: Micros | undefined;
}

export interface ResolvedSockets extends ResolvedSocket {
  readonly origins: ReadonlySet<string>;
  readonly open_max: number;
}

const MESSAGE_BYTES_DEFAULT = 1_048_576;
/** Of the platform (https://developers.cloudflare.com/workers/platform/limits/). */
const MESSAGE_BYTES_MAX = 33_554_432;
const IDLE_SECONDS_DEFAULT = 600;
const OPEN_DEFAULT = 64;
const SECONDS_MAX = 31_536_000;

const ONE_SOCKET = {
  maxMessageBytes: true,
  idleSeconds: true,
  maxSeconds: true,
  pauseSeconds: true,
  updateSeconds: true,
  lowBalance: true,
} as const satisfies Record<keyof SocketOptions, true>;

const ALL_SOCKETS = { ...ONE_SOCKET, origins: true, maxPerEnvelope: true } as const satisfies Record<
  keyof SocketsOptions,
  true
>;

export function resolveSockets(
  given: SocketsOptions,
  currency: Currency,
  corsOrigins: ReadonlySet<string>,
  readOrigins: (path: string, origins: readonly string[]) => ReadonlySet<string>,
): ResolvedSockets {
  const path = "options.sockets";
  requireKnown(path, given, ALL_SOCKETS);
  const open_max = whole(`${path}.maxPerEnvelope`, given.maxPerEnvelope ?? OPEN_DEFAULT, 1, 10_000);
  const origins = given.origins === undefined ? corsOrigins : readOrigins(`${path}.origins`, given.origins);
  return { ...resolveSocket(path, given, currency, undefined), origins, open_max };
}

/** What is not given is as in `base`. */
export function resolveSocket(
  path: string,
  given: SocketOptions,
  currency: Currency,
  base: ResolvedSocket | undefined,
): ResolvedSocket {
  if (base !== undefined) requireKnown(path, given, ONE_SOCKET);
  const ms = (name: "idleSeconds" | "maxSeconds" | "updateSeconds", fallback: number): number => {
    const value = given[name];
    if (value === undefined) return fallback;
    return forever(whole(`${path}.${name}`, value, 0, SECONDS_MAX));
  };
  const { maxMessageBytes, pauseSeconds, lowBalance } = given;
  const message_bytes_max = maxMessageBytes ?? base?.message_bytes_max ?? MESSAGE_BYTES_DEFAULT;
  return {
    message_bytes_max: whole(`${path}.maxMessageBytes`, message_bytes_max, 1, MESSAGE_BYTES_MAX),
    idle_ms: ms("idleSeconds", base?.idle_ms ?? IDLE_SECONDS_DEFAULT * 1000),
    duration_ms: ms("maxSeconds", base?.duration_ms ?? Number.POSITIVE_INFINITY),
    update_ms: ms("updateSeconds", base?.update_ms ?? Number.POSITIVE_INFINITY),
    pause_ms:
      pauseSeconds === undefined
        ? (base?.pause_ms ?? 0)
        : whole(`${path}.pauseSeconds`, pauseSeconds, 0, SECONDS_MAX) * 1000,
    low_micros: lowBalance === undefined ? base?.low_micros : priceOf(`${path}.lowBalance`, lowBalance, currency),
  };
}

function forever(seconds: number): number {
  return seconds === 0 ? Number.POSITIVE_INFINITY : seconds * 1000;
}

function priceOf(path: string, price: Price, currency: Currency): Micros {
  const micros = parsePrice(price, currency);
  if (micros === undefined) throw new TypeError(`${path} is outside the grammar of prices in ${currency.code}`);
  return micros;
}

function whole(path: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new TypeError(`${path} must be a whole number from ${least} to ${most}`);
  }
  return value;
}

function requireKnown(path: string, value: unknown, known: Readonly<Record<string, true>>): void {
  if (typeof value !== "object" || value === null) throw new TypeError(`${path} must be an object`);
  for (const name of Object.keys(value)) {
    if (!(name in known)) {
      throw new TypeError(`${path}.${name} is not an option; known are ${Object.keys(known).join(", ")}`);
    }
  }
}
