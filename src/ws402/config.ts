/** The configuration of ws402: names are ws402's, checked once. A wrong one throws a TypeError that names its path. */
import type { Price } from "../money.js";
import { envelopeUnit, providerUnit, type Unit } from "./amounts.js";
import type { ResourceInfo } from "./protocol.js";

/** A session, as callbacks and events are told of it. Amounts are numbers of `currency`. */
export interface WS402Session {
  readonly sessionId: string;
  /** Whatever `userIdExtractor` makes of a request. It proves nothing. */
  readonly userId: string;
  /** ms since 1970. */
  readonly startTime: number;
  readonly paidAmount: number;
  readonly consumedAmount: number;
  readonly elapsedSeconds: number;
  readonly bytesTransferred: number;
  readonly messageCount: number;
  readonly status: "active" | "ended";
  /** As the client sent it, for callbacks and events. Absent where the envelope pays: it may hold a token. */
  readonly paymentProof?: unknown;
  /** May be changed in `onPaymentVerified`, before any time is charged. */
  pricePerSecond: number;
  readonly currency: string;
  readonly resourceId: string;
  readonly _resourceId: string;
}

export interface RefundDetails {
  readonly sessionId: string;
  readonly amount: number;
  readonly reason: "unused_balance";
  readonly timestamp: number;
  /** As the provider named it. */
  readonly id?: string | undefined;
}

export interface WS402Resource extends ResourceInfo {
  /** In place of `config.pricePerSecond`. */
  readonly pricePerSecond?: Price | undefined;
  /** The HTTP mode: a token opens the resource at `paths.resource` as long as the session is open. Default `false`. */
  readonly http?: boolean | undefined;
}

export interface WS402Config {
  /** ms between two `usage_update`. Default 3000. */
  readonly updateInterval?: number | undefined;
  /** Default 1. 0 is free. */
  readonly pricePerSecond?: Price | undefined;
  /** Of the envelope (ISO 4217; prices are in minor units) or the provider's own (prices are in whole ones). Default `"usd"`. */
  readonly currency?: string | undefined;
  /** Seconds. Default 3600. */
  readonly maxSessionDuration?: number | undefined;
  /** Default: `?userId=`, else `"anonymous"`. A label: nothing is granted by it. */
  readonly userIdExtractor?: ((request: Request) => string) | undefined;
  readonly onPaymentVerified?: ((session: WS402Session) => void | Promise<void>) | undefined;
  /** After the money was given back, and only then. */
  readonly onRefundIssued?: ((session: WS402Session, refund: RefundDetails) => void | Promise<void>) | undefined;
  readonly onSessionEnd?: ((session: WS402Session) => void | Promise<void>) | undefined;
  /** What is sold, by its id. Default: any id, at `pricePerSecond`. */
  readonly resources?: Readonly<Record<string, WS402Resource>> | undefined;
  /** A session without money waits for some so long; a top-up goes on with it. Seconds; default 0: it ends. */
  readonly pauseSeconds?: number | undefined;
  /** `low_balance` is told when less is left than so many seconds cost. Default 30. */
  readonly lowBalanceSeconds?: number | undefined;
  /** Without a frame either way for so long, the session ends. Seconds; 0: never. Default 0: a session ends by its price or duration. */
  readonly idleSeconds?: number | undefined;
  readonly maxMessageBytes?: number | undefined;
  readonly paths?: Partial<WS402Paths> | undefined;
}

export interface WS402Paths {
  /** `…/:resourceId`: the schema. */
  readonly schema: string;
  /** `…/:resourceId`: the WebSocket. */
  readonly socket: string;
  /** `…/:sessionId`: the receipt. */
  readonly session: string;
  /** `…/:resourceId?token=`: the HTTP mode; `…/:resourceId/schema` is the schema in its envelope. */
  readonly resource: string;
  readonly resources: string;
}

export const DEFAULT_WS402_PATHS: WS402Paths = {
  schema: "/ws402/schema",
  socket: "/ws402",
  session: "/ws402/session",
  resource: "/api/resource",
  resources: "/api/resources",
};

export interface ResolvedConfig {
  readonly updateInterval_ms: number;
  readonly price_micros: number;
  readonly unit: Unit;
  readonly maxSession_ms: number;
  readonly userIdExtractor: (request: Request) => string;
  readonly resources: ReadonlyMap<string, ResolvedResource> | undefined;
  readonly pause_ms: number;
  readonly low_seconds: number;
  readonly idle_ms: number;
  readonly message_bytes_max: number;
  readonly paths: WS402Paths;
}

export interface ResolvedResource {
  readonly price_micros: number;
  readonly http: boolean;
  readonly info: ResourceInfo | undefined;
}

const KNOWN = {
  updateInterval: true,
  pricePerSecond: true,
  currency: true,
  maxSessionDuration: true,
  userIdExtractor: true,
  onPaymentVerified: true,
  onRefundIssued: true,
  onSessionEnd: true,
  resources: true,
  pauseSeconds: true,
  lowBalanceSeconds: true,
  idleSeconds: true,
  maxMessageBytes: true,
  paths: true,
} as const satisfies Record<keyof WS402Config, true>;

const YEAR_SECONDS = 31_536_000;

export function resolveConfig(config: WS402Config, from: "envelope" | "provider"): ResolvedConfig {
  for (const name of Object.keys(config)) {
    if (!(name in KNOWN))
      throw new TypeError(`config.${name} is not known; known are ${Object.keys(KNOWN).join(", ")}`);
  }
  for (const name of ["userIdExtractor", "onPaymentVerified", "onRefundIssued", "onSessionEnd"] as const) {
    if (config[name] !== undefined && typeof config[name] !== "function") {
      throw new TypeError(`config.${name} must be a function`);
    }
  }
  const code = config.currency ?? "usd";
  const unit = from === "envelope" ? envelopeUnit(code) : providerUnit(code);
  if (unit === undefined) throw new TypeError('config.currency must be an ISO 4217 code such as "usd"');
  const price_micros = priceOf("config.pricePerSecond", config.pricePerSecond ?? 1, unit);
  const idleSeconds = whole("config.idleSeconds", config.idleSeconds ?? 0, 0, YEAR_SECONDS);
  return {
    updateInterval_ms: whole("config.updateInterval", config.updateInterval ?? 3000, 100, 3_600_000),
    price_micros,
    unit,
    maxSession_ms: whole("config.maxSessionDuration", config.maxSessionDuration ?? 3600, 1, YEAR_SECONDS) * 1000,
    userIdExtractor: config.userIdExtractor ?? userIdOf,
    resources: config.resources && resolveResources(config.resources, price_micros, unit),
    pause_ms: whole("config.pauseSeconds", config.pauseSeconds ?? 0, 0, YEAR_SECONDS) * 1000,
    low_seconds: whole("config.lowBalanceSeconds", config.lowBalanceSeconds ?? 30, 0, YEAR_SECONDS),
    idle_ms: idleSeconds === 0 ? Number.POSITIVE_INFINITY : idleSeconds * 1000,
    message_bytes_max: whole("config.maxMessageBytes", config.maxMessageBytes ?? 1_048_576, 1, 33_554_432),
    paths: resolvePaths(config.paths ?? {}),
  };
}

const USER_ID_CHARS_MAX = 256;

function userIdOf(request: Request): string {
  return (new URL(request.url).searchParams.get("userId") || "anonymous").slice(0, USER_ID_CHARS_MAX);
}

function resolveResources(
  resources: Readonly<Record<string, WS402Resource>>,
  fallback_micros: number,
  unit: Unit,
): ReadonlyMap<string, ResolvedResource> {
  return new Map(
    Object.entries(resources).map(([id, { pricePerSecond, http = false, ...info }]) => {
      const path = `config.resources.${id}.pricePerSecond`;
      const price_micros = pricePerSecond === undefined ? fallback_micros : priceOf(path, pricePerSecond, unit);
      return [id, { price_micros, http, info: Object.keys(info).length === 0 ? undefined : info }];
    }),
  );
}

function resolvePaths(paths: Partial<WS402Paths>): WS402Paths {
  for (const [name, path] of Object.entries(paths)) {
    if (!(name in DEFAULT_WS402_PATHS)) throw new TypeError(`config.paths.${name} is not known`);
    if (typeof path !== "string" || !/^(\/[0-9A-Za-z._~-]+)+$/.test(path)) {
      throw new TypeError(`config.paths.${name} must be a path such as "/ws402/${name}"`);
    }
  }
  return { ...DEFAULT_WS402_PATHS, ...paths };
}

function priceOf(path: string, price: unknown, unit: Unit): number {
  const micros = unit.parse(price);
  if (micros === undefined) throw new TypeError(`${path} is no price in ${unit.currency}`);
  return micros;
}

function whole(path: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new TypeError(`${path} must be a whole number from ${least} to ${most}`);
  }
  return value;
}
