/** Where a session is: its id begins with the number of its shard. Fixed for ever, as is a payment's name. */
import { base62Number, digest, numberFromBase62, randomBase62 } from "../secrets.js";
import { namespaceOf } from "../stubs.js";
import type { SessionsApi } from "./sessions.js";

const SHARDS = 16;
const CLASS = "WS402Sessions";
const BINDING = "WS402_SESSIONS";
const LINES = `export const ${CLASS} = ws402.Sessions`;

const SESSION = /^ws402_([0-9A-F])[0-9A-Za-z]{22}$/;
const TOKEN = /^http_([0-9A-F])[0-9A-Za-z]{22}$/;

/** 131 bits, after the shard. */
export function newSessionId(): string {
  const shard = crypto.getRandomValues(new Uint8Array(1))[0] ?? 0;
  return `ws402_${base62Number(shard % SHARDS, 1)}${randomBase62(22)}`;
}

/** A token on the session's own shard. */
export function newHttpToken(session_id: string): string {
  return `http_${session_id.charAt("ws402_".length)}${randomBase62(22)}`;
}

export function isSessionId(text: string): boolean {
  return SESSION.test(text);
}

/** Of a session's id, or of a token of the HTTP mode; `undefined` for what is neither. */
export function sessionsOf(env: unknown, id: string): SessionsApi | undefined {
  const shard = (SESSION.exec(id) ?? TOKEN.exec(id))?.[1];
  return shard === undefined ? undefined : sessionsShard(env, numberFromBase62(shard));
}

/** Where a payment's name is noted. */
export function sessionsStub(env: unknown, name: string): SessionsApi {
  return sessionsShard(env, numberFromBase62(digest(name, 4)) % SHARDS);
}

export function sessionsShards(env: unknown): SessionsApi[] {
  return Array.from({ length: SHARDS }, (_, shard) => sessionsShard(env, shard));
}

function sessionsShard(env: unknown, shard: number): SessionsApi {
  return namespaceOf<SessionsApi>(env, { name: CLASS, binding: BINDING, lines: LINES }).getByName(`ws402-${shard}`);
}
