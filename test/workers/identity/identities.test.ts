/** Identities that an owner authorises: one envelope each, under any race and any crash, and refused from the moment they are revoked. */
import { evictAllDurableObjects, listDurableObjectIds, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { EnvelopeUnreachableError } from "../../../src/attempt.js";
import type { AuthorizeOutcome, SpenderView } from "../../../src/contract.js";
import {
  type Authorization,
  authorizeIdentity,
  identityName,
  normalIdentity,
  revokeSpender,
} from "../../../src/identities.js";
import { Envelope, EnvelopeDirectory } from "../../../src/index.js";
import { knownPlace, type NamedIdentity } from "../../../src/places.js";
import { keysOf } from "../../../src/settings.js";
import { micros } from "../rules/values.js";
import { type Caller, type Me, type Problem, Site } from "../support.js";

const site = new Site();
const BY = { actor: "owner", reason: null };
let names = 0;
const newEmail = (): NamedIdentity => ({ type: "EMAIL", value: `jane-${++names}@example.org` });

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const authorize = (id: string, identity: NamedIdentity, over: Partial<Authorization> = {}, at: unknown = env) =>
  authorizeIdentity(at, keysOf(at), {
    ...{ envelope_id: id, identity, by: BY, key: crypto.randomUUID() },
    ...{ name: null, scopes: ["spend", "read"], cap_micros: null, windows: [], expires_at_ms: null },
    ...over,
  });
const revoke = (id: string, identity_id: string) => revokeSpender(env, id, { id: identity_id, minted: false, by: BY });
const idOf = (outcome: AuthorizeOutcome): string => ("spender" in outcome ? outcome.spender.id : outcome.outcome);

async function identitiesOf(id: string): Promise<readonly SpenderView[]> {
  const listed = await env.ENVELOPE.getByName(id).spenders({ minted: false, before: null, limit: 1_000 });
  if (listed.outcome !== "ok") throw new Error(listed.outcome);
  return listed.spenders;
}

const statuses = async (id: string) => (await identitiesOf(id)).map(({ status }) => status);

/** A site whose app says who is asking: `TYPE value`. */
const named = (options: object = {}, vars: Record<string, unknown> = {}) =>
  new Site(
    {
      identify: (request) => {
        const [, type, value] = /^(\S+) (.*)$/.exec(request.headers.get("X-Named") ?? "") ?? [];
        return type === undefined ? undefined : { type: type as NamedIdentity["type"], value: value ?? "" };
      },
      ...options,
    },
    vars,
  );
const login = named();
const as = (identity: NamedIdentity, path = "/x?price=1", at: Site = login, init: RequestInit = {}) =>
  at.fetch(path, {
    ...init,
    headers: { "X-Named": `${identity.type} ${identity.value}`, ...(init.headers as object) },
  });

describe("an identity that was authorised", () => {
  it("spends from that envelope, however it is written, within its own limits", async () => {
    const payer = await site.payer(50);
    const identity = newEmail();
    const outcome = await authorize(payer.id, identity, { cap_micros: micros(50_000) });
    expect(outcome).toMatchObject({
      outcome: "authorized",
      spender: { kind: "EMAIL", minted: false, status: "active" },
    });
    const written = { type: "EMAIL", value: ` ${identity.value.toUpperCase()} ` } as const;
    expect((await as(written)).headers.get("X-Balance")).toBe("49");
    expect((await as(identity, "/x?price=4")).headers.get("X-Balance")).toBe("45");
    expect((await as(identity)).status).toBe(403);
    expect((await as({ ...identity, type: "USERNAME" })).status).toBe(401);
    const me = await (await as(identity, "/me")).json<Me & { spender: { id: string } }>();
    expect(me).toMatchObject({ balance: 45, spender: { id: idOf(outcome), remaining: "0" } });
    expect((await as(identity, "/rotate-token", login, { method: "POST" })).status).toBe(409);
    expect((await as(identity, "/pay")).headers.get("Location")).toContain(payer.reference);
  });

  it("costs one call more to the directory while it is not remembered, none afterwards, and nothing on a free page", async () => {
    const payer = await site.payer(50);
    const identity = newEmail();
    await authorize(payer.id, identity);
    const asked = vi.spyOn(EnvelopeDirectory.prototype, "identity");
    const charges = vi.spyOn(Envelope.prototype, "charge");
    const calls = () => [asked.mock.calls.length, charges.mock.calls.length];
    await as(identity, "/free");
    expect(calls()).toEqual([0, 0]);
    expect((await as(identity)).status).toBe(200);
    expect(calls()).toEqual([1, 1]);
    for (let again = 0; again < 5; again++) expect((await as(identity)).status).toBe(200);
    expect(calls()).toEqual([1, 6]);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 61_000 });
    expect((await as(identity)).status).toBe(200);
    expect(calls()).toEqual([2, 7]);
  });

  it("is an id to the handler once the envelope was asked, and identified from the beginning", async () => {
    const payer = await site.payer(50);
    const identity = newEmail();
    await authorize(payer.id, identity);
    const who = async () =>
      (await as(identity, "/who")).json<{ id: string; identified: boolean; paymentLink: string | null }>();
    expect(await who()).toEqual({ id: "", identified: true, paymentLink: null });
    await as(identity);
    expect(await who()).toMatchObject({ id: payer.id, identified: true });
  });

  it("works with a hold before the handler, and gives it back when the handler fails", async () => {
    const payer = await site.payer(50);
    const identity = newEmail();
    await authorize(payer.id, identity, { cap_micros: micros(170_000) });
    const quoted = named({ price: () => "10" });
    expect((await as(identity, "/x?price=7", quoted)).headers.get("X-Balance")).toBe("43");
    await expect(as(identity, "/throw", quoted)).rejects.toThrow("the app failed");
    await vi.waitFor(async () => expect((await payer.me()).available_micros).toBe(430_000));
    expect((await as(identity, "/x?price=4", quoted)).status).toBe(200);
    expect((await as(identity, "/x?price=4", quoted)).status).toBe(403);
  });
});

describe("an identity that nobody authorised", () => {
  it("is refused and never waved through: no price is so small, nothing is made, nothing is asked of an envelope", async () => {
    const before = (await listDurableObjectIds(env.ENVELOPE)).length;
    const stranger = newEmail();
    for (const path of ["/x?price=1", "/x?price=0", "/me", "/pay", "/keys"]) {
      const response = await as(stranger, path);
      expect([path, response.status, response.headers.getSetCookie()]).toEqual([path, 401, []]);
    }
    const refused = await as(stranger);
    expect(await refused.json<Problem>()).toMatchObject({
      type: "urn:with-envelope:problem:identity-unknown",
      limit: "key",
      canTopUp: false,
    });
    expect([refused.headers.get("X-Balance"), refused.headers.get("X-Payment-Link")]).toEqual([null, null]);
    expect((await as(stranger, "/x", named({ price: () => "1" }))).status).toBe(401);
    const charge = await as(stranger, "/charge", login, { method: "POST", body: JSON.stringify({ price: "0" }) });
    expect(await charge.json()).toMatchObject({ outcome: "refused", refusal: { reason: "identity_unknown" } });
    expect((await as(stranger, "/state")).status).toBe(401);
    expect((await as(stranger, "/free")).status).toBe(200);
    expect(await listDurableObjectIds(env.ENVELOPE)).toHaveLength(before);
  });

  it("does not fall back to a token or cookie that comes along", async () => {
    const payer = await site.payer(50);
    const headers = { Authorization: `Bearer ${payer.token}`, Cookie: `__Host-we=${payer.token}` };
    expect((await as(newEmail(), "/x?price=1", login, { headers })).status).toBe(401);
    expect((await payer.me()).balance).toBe(50);
  });

  it("that is malformed is the app's error, not somebody's envelope", async () => {
    for (const wrong of [
      { type: "EMAIL", value: "jane" },
      { type: "email", value: "a@b" },
      { type: "PHONE", value: "" },
      {},
    ]) {
      const broken = new Site({ identify: () => wrong as NamedIdentity });
      await expect(broken.fetch("/free")).rejects.toThrow(TypeError);
    }
  });

  it("cannot be authorised for an envelope that is not there, which stays not there", async () => {
    const { id } = await site.newcomer();
    expect(await authorize(id, newEmail())).toEqual({ outcome: "unknown" });
    const tables = await runInDurableObject(env.ENVELOPE.getByName(id), (_: Envelope, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'").toArray(),
    );
    expect(tables).toEqual([]);
  });

  it("when the directory is down, is an outage and no stranger", async () => {
    const payer = await site.payer(50);
    const identity = newEmail();
    await authorize(payer.id, identity);
    vi.spyOn(EnvelopeDirectory.prototype, "identity").mockRejectedValue(new Error("down"));
    expect((await as(identity)).status).toBe(503);
    vi.restoreAllMocks();
    expect((await as(identity)).status).toBe(200);
  });
});

describe("authorising again", () => {
  it("is answered the same, once written down, unless something else is asked for", async () => {
    const [payer, identity] = [await site.payer(50), newEmail()];
    const first = await authorize(payer.id, identity, { key: "a-1" });
    expect(first.outcome).toBe("authorized");
    for (const key of ["a-1", "a-2"]) {
      expect(await authorize(payer.id, identity, { key })).toMatchObject({
        outcome: "found",
        spender: { id: idOf(first) },
      });
    }
    expect(await authorize(payer.id, identity, { cap_micros: micros(1) })).toMatchObject({ outcome: "differs" });
    expect(await authorize(payer.id, identity, { scopes: ["spend"] })).toMatchObject({ outcome: "differs" });
    expect(await authorize(payer.id, newEmail(), { key: "a-1" })).toEqual({ outcome: "key_used" });
    const audit = await env.ENVELOPE.getByName(payer.id).audit({ before: null, limit: 10 });
    expect(audit.map(({ action, actor }) => [action, actor])).toEqual([["authorize", "owner"]]);
  });

  it("T14 with one key for two identities at once, lets one of them in and is a conflict for the other", async () => {
    const [payer, other] = [await site.payer(50), await site.payer(50)];
    for (let round = 0; round < 10; round++) {
      const [identities, key] = [[newEmail(), newEmail()], crypto.randomUUID()];
      const outcomes = await Promise.all(identities.map((one) => authorize(payer.id, one, { key })));
      expect(outcomes.map(({ outcome }) => outcome).sort()).toEqual(["authorized", "key_used"]);
      const [lost] = identities.filter((_, at) => outcomes[at]?.outcome === "key_used");
      // And leaves nothing behind that would keep it from others.
      expect((await authorize(other.id, lost as NamedIdentity)).outcome).toBe("authorized");
    }
    expect(new Set(await statuses(payer.id))).toEqual(new Set(["active"]));
  });

  it("with two limits at once, is told the limit that it has, and the other is told that it differs", async () => {
    const payer = await site.payer(50);
    for (let round = 0; round < 10; round++) {
      const identity = newEmail();
      const caps = [10_000, 20_000, 30_000].map(micros);
      const outcomes = await Promise.all(caps.map((cap_micros) => authorize(payer.id, identity, { cap_micros })));
      expect(outcomes.map(({ outcome }) => outcome).sort()).toEqual(["authorized", "differs", "differs"]);
      const won = outcomes.findIndex(({ outcome }) => outcome === "authorized");
      for (const outcome of outcomes) expect(outcome).toMatchObject({ spender: { cap_micros: caps[won] } });
    }
  });

  it("keeps windows apart from others, whatever order their members are written in", async () => {
    const [payer, identity] = [await site.payer(50), newEmail()];
    const windows = [{ unit: "DAILY", limit_micros: micros(5), time_zone: "Asia/Tokyo" }] as const;
    await authorize(payer.id, identity, { windows });
    const same = [{ time_zone: "Asia/Tokyo", limit_micros: micros(5), unit: "DAILY" }] as const;
    expect((await authorize(payer.id, identity, { windows: same })).outcome).toBe("found");
    expect((await authorize(payer.id, identity, { windows: [] })).outcome).toBe("differs");
  });
});

describe("T63 one identity, two envelopes", () => {
  it("goes to the first, and to the other once it was revoked there", async () => {
    const [one, other, identity] = [await site.payer(50), await site.payer(70), newEmail()];
    const first = await authorize(one.id, identity);
    expect(await authorize(other.id, identity)).toEqual({ outcome: "taken", envelope_id: one.id });
    expect(await identitiesOf(other.id)).toEqual([]);
    expect((await as(identity)).headers.get("X-Balance")).toBe("49");
    await revoke(one.id, idOf(first));
    expect((await authorize(other.id, identity)).outcome).toBe("authorized");
    expect((await as(identity)).headers.get("X-Balance")).toBe("69");
    expect(await statuses(one.id)).toEqual(["revoked"]);
  });

  it("T56 200 claims at once from two envelopes, and from twenty: one owner, and everybody is told the same", async () => {
    for (const envelopes of [2, 20]) {
      const payers = await Promise.all(Array.from({ length: envelopes }, () => site.payer(1)));
      const identity = newEmail();
      const outcomes = await Promise.all(
        Array.from({ length: 200 }, async (_, at) => {
          const { id } = payers[at % envelopes] as Caller;
          return { id, outcome: await authorize(id, identity) };
        }),
      );
      const owners = new Set(outcomes.filter(({ outcome }) => "spender" in outcome).map(({ id }) => id));
      expect(owners.size).toBe(1);
      const [owner = ""] = owners;
      for (const { id, outcome } of outcomes) {
        if (id !== owner) expect(outcome).toEqual({ outcome: "taken", envelope_id: owner });
        else expect(["authorized", "found"]).toContain(outcome.outcome);
      }
      const lists = await Promise.all(payers.map(async ({ id }) => [id, await statuses(id)] as const));
      expect(lists.filter(([, list]) => list.length > 0)).toEqual([[owner, ["active"]]]);
    }
  });

  it("goes on once it has expired, and does not come back when the first one's clock does", async () => {
    const [one, other, identity] = [await site.payer(50), await site.payer(70), newEmail()];
    const now = Date.now();
    await authorize(one.id, identity, { expires_at_ms: now + 60_000 });
    expect((await as(identity)).status).toBe(200);
    vi.useFakeTimers({ toFake: ["Date"], now: now + 60_000 });
    expect((await as(identity)).status).toBe(403);
    expect((await authorize(other.id, identity)).outcome).toBe("authorized");
    vi.setSystemTime(now);
    expect(await statuses(one.id)).toEqual(["expired"]);
    expect((await as(identity)).headers.get("X-Balance")).toBe("69");
    // Its own envelope may have it anew only when the other gives it up.
    expect(await authorize(one.id, identity)).toEqual({ outcome: "taken", envelope_id: other.id });
  });

  it("may be authorised again where it has expired, with a life and sums of its own", async () => {
    const [payer, identity] = [await site.payer(50), newEmail()];
    const now = Date.now();
    await authorize(payer.id, identity, { expires_at_ms: now + 60_000, cap_micros: micros(10_000) });
    expect((await as(identity)).status).toBe(200);
    vi.useFakeTimers({ toFake: ["Date"], now: now + 60_000 });
    expect((await authorize(payer.id, identity, { cap_micros: micros(10_000) })).outcome).toBe("authorized");
    expect((await as(identity)).status).toBe(200);
    expect(await statuses(payer.id)).toEqual(["active", "expired"]);
  });
});

describe("T58 a revoked identity", () => {
  it("is refused on the very next charge although it is remembered, and goes where it was claimed since", async () => {
    const [one, other, identity] = [await site.payer(50), await site.payer(70), newEmail()];
    const outcome = await authorize(one.id, identity);
    const asked = vi.spyOn(EnvelopeDirectory.prototype, "identity");
    const status = async () => (await as(identity)).status;
    expect([await status(), await status(), asked.mock.calls.length]).toEqual([200, 200, 1]);
    // Nobody tells an isolate of it: what it remembers is as it was, in this one as in every other.
    await revoke(one.id, idOf(outcome));
    expect(knownPlace(keysOf(env), identity)).toMatchObject({ envelope_id: one.id, identity_id: idOf(outcome) });
    expect([await status(), asked.mock.calls.length]).toEqual([401, 2]);
    await authorize(other.id, identity);
    expect((await as(identity)).headers.get("X-Balance")).toBe("69");
    expect((await one.me()).balance).toBe(48);
  });

  it("in every isolate: one that still remembers where it was charges where it is", async () => {
    const [one, other, identity] = [await site.payer(50), await site.payer(70), newEmail()];
    const outcome = await authorize(one.id, identity);
    await as(identity);
    await revoke(one.id, idOf(outcome));
    await authorize(other.id, identity);
    // The envelope that is remembered is asked first, refuses, and the directory's word is taken.
    const asked = vi.spyOn(EnvelopeDirectory.prototype, "identity");
    const charges = vi.spyOn(Envelope.prototype, "charge");
    expect((await as(identity)).headers.get("X-Balance")).toBe("69");
    expect([asked.mock.calls.length, charges.mock.calls.length]).toEqual([1, 2]);
    expect((await as(identity, "/state")).status).toBe(200);
    expect([(await one.me()).balance, (await other.me()).balance]).toEqual([49, 69]);
  });

  it("is not let in again by a directory that still names it", async () => {
    const [payer, identity] = [await site.payer(50), newEmail()];
    const outcome = await authorize(payer.id, identity);
    await as(identity);
    vi.spyOn(EnvelopeDirectory.prototype, "releaseIdentity").mockRejectedValue(new Error("down"));
    await expect(revoke(payer.id, idOf(outcome))).rejects.toThrow(EnvelopeUnreachableError);
    vi.restoreAllMocks();
    expect((await as(identity)).status).toBe(401);
    // Nobody has to know of the interruption: the next claim looks whether the one that is named still counts.
    const other = await site.payer(70);
    expect((await authorize(other.id, identity)).outcome).toBe("authorized");
  });
});

describe("T62 crashes", () => {
  const STEPS = [
    [Envelope, "noteIdentity"],
    [EnvelopeDirectory, "claimIdentity"],
    [Envelope, "activateIdentity"],
  ] as const;
  const ENDS = [
    [Envelope, "revokeSpender"],
    [EnvelopeDirectory, "releaseIdentity"],
  ] as const;

  type Way = "never arrived" | "answer lost" | "aborted";
  const WAYS: readonly Way[] = ["never arrived", "answer lost", "aborted"];

  /** The next call of a method fails in one way, once. */
  function fail(of: { prototype: unknown }, method: string, way: Way): void {
    const methods = of.prototype as Record<string, (...given: unknown[]) => Promise<unknown>>;
    const real = methods[method] as (...given: unknown[]) => Promise<unknown>;
    vi.spyOn(methods, method).mockImplementationOnce(async function (this: unknown, ...given) {
      if (way !== "never arrived") await real.apply(this, given);
      if (way === "aborted") (this as { ctx: DurableObjectState }).ctx.abort("killed by the test");
      throw new Error("lost on the way");
    });
  }

  it.each(STEPS.flatMap(([of, method]) => WAYS.map((way) => [method, way, of] as const)))(
    "authorising, %s %s: doing it again finishes it, once",
    async (method, way, of) => {
      const [payer, identity] = [await site.payer(50), newEmail()];
      fail(of, method, way);
      const asked = { key: crypto.randomUUID(), cap_micros: micros(20_000) };
      await authorize(payer.id, identity, asked).catch((error) =>
        expect(error).toBeInstanceOf(EnvelopeUnreachableError),
      );
      vi.restoreAllMocks();
      // Before it is finished, it opens nothing it should not.
      expect((await as(identity)).status === 200).toBe((await statuses(payer.id)).includes("active"));
      expect(["authorized", "found"]).toContain((await authorize(payer.id, identity, asked)).outcome);
      expect(await statuses(payer.id)).toEqual(["active"]);
      expect((await as(identity)).status).toBe(200);
      const audit = await env.ENVELOPE.getByName(payer.id).audit({ before: null, limit: 10 });
      expect(audit.map(({ action }) => action)).toEqual(["authorize"]);
      const other = await site.payer(1);
      expect(await authorize(other.id, identity)).toEqual({ outcome: "taken", envelope_id: payer.id });
    },
  );

  it.each(ENDS.flatMap(([of, method]) => WAYS.map((way) => [method, way, of] as const)))(
    "revoking, %s %s: doing it again finishes it, once, and the identity is free",
    async (method, way, of) => {
      const [payer, other, identity] = [await site.payer(50), await site.payer(70), newEmail()];
      const id = idOf(await authorize(payer.id, identity));
      fail(of, method, way);
      await revoke(payer.id, id).catch((error) => expect(error).toBeInstanceOf(EnvelopeUnreachableError));
      vi.restoreAllMocks();
      expect((await revoke(payer.id, id)).outcome).toBe("revoked");
      expect((await as(identity)).status).toBe(401);
      expect((await authorize(other.id, identity)).outcome).toBe("authorized");
      const audit = await env.ENVELOPE.getByName(payer.id).audit({ before: null, limit: 10 });
      expect(audit.map(({ action }) => action)).toEqual(["revoke-identity", "authorize"]);
    },
  );

  it("revoked while it is being authorised, nobody has it", async () => {
    const [payer, other, identity] = [await site.payer(50), await site.payer(70), newEmail()];
    const real = EnvelopeDirectory.prototype.claimIdentity;
    vi.spyOn(EnvelopeDirectory.prototype, "claimIdentity").mockImplementationOnce(async function (
      this: EnvelopeDirectory,
      input,
    ) {
      const answer = await real.call(this, input);
      await revoke(payer.id, input.identity_id);
      return answer;
    });
    expect(await authorize(payer.id, identity)).toEqual({ outcome: "ended" });
    expect((await as(identity)).status).toBe(401);
    expect((await authorize(other.id, identity)).outcome).toBe("authorized");
  });

  it("in random orders with random failures, two envelopes never have it at once, and what is done again is done", {
    timeout: 240_000,
  }, async () => {
    const act = fc.record({
      what: fc.constantFrom("authorize", "authorize", "authorize", "revoke"),
      who: fc.nat(2),
      fault: fc.option(fc.record({ at: fc.nat(6), way: fc.constantFrom(...WAYS) }), { nil: undefined, freq: 1 }),
    });
    const METHODS = [...STEPS, ...ENDS, [Envelope, "endIdentity"], [Envelope, "dropIdentity"]] as const;
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(act, { minLength: 1, maxLength: 3 }), { maxLength: 8 }), async (rounds) => {
        const payers = [await site.payer(1), await site.payer(1), await site.payer(1)];
        const identity = newEmail();
        const holders = async () =>
          (
            await Promise.all(payers.map(async ({ id }) => ((await statuses(id)).includes("active") ? [id] : [])))
          ).flat();
        const doIt = async (what: string, id: string): Promise<void> => {
          if (what === "authorize") {
            if ((await authorize(id, identity)).outcome === "taken") taken += 1;
            return;
          }
          for (const one of await identitiesOf(id)) await revoke(id, one.id);
        };
        // Several at once in each round, each of which may fail in the middle.
        for (const round of rounds) {
          for (const { fault } of round) {
            const [of, method] = METHODS[fault?.at ?? 0] ?? STEPS[0];
            if (fault !== undefined) fail(of, method, fault.way);
          }
          await Promise.allSettled(round.map(({ what, who }) => doIt(what, payers[who]?.id ?? "")));
          vi.restoreAllMocks();
          expect((await holders()).length).toBeLessThanOrEqual(1);
        }
        // Whatever was left half done, whoever asks next gets a plain answer, and there is one owner.
        const answers = [];
        for (const { id } of payers) answers.push((await authorize(id, identity)).outcome);
        expect(answers.filter((one) => one === "authorized" || one === "found")).toHaveLength(1);
        expect(await holders()).toHaveLength(1);
        expect((await as(identity)).status).toBe(200);
      }),
      { numRuns: 40 },
    );
    expect(taken).toBeGreaterThan(0);
  });
});

describe("T44 a rotated root secret", () => {
  const OLD = "test-root-secret-0123456789-abcdefghij";
  const NEW = "another-root-secret-0123456789-abcdefghij";
  const both = { ...env, ENVELOPE_SECRET: NEW, ENVELOPE_SECRET_PREVIOUS: OLD };
  const newest = { ...env, ENVELOPE_SECRET: NEW };
  const shownBy = (vars: object, identity: NamedIdentity) =>
    as(identity, "/x?price=1", named({}, vars as Record<string, unknown>));

  it("leaves each identity where it is, and after one use it is known by the newest alone", async () => {
    const [payer, other, identity] = [await site.payer(50), await site.payer(70), newEmail()];
    await authorize(payer.id, identity);
    expect((await shownBy(newest, identity)).status).toBe(401);
    expect((await shownBy(both, identity)).status).toBe(200);
    expect((await shownBy(newest, identity)).status).toBe(200);
    // No Worker gives it to another envelope, whichever of the secrets it knows.
    for (const at of [env, both, newest]) {
      expect(await authorize(other.id, identity, {}, at)).toEqual({ outcome: "taken", envelope_id: payer.id });
      expect((await authorize(payer.id, identity, {}, at)).outcome).toBe("found");
    }
  });

  it("claimed by a Worker that knows both, it is taken for one that knows the old one only, and the other way round", async () => {
    for (const [first, then] of [
      [both, env],
      [env, both],
    ] as const) {
      const [payer, other, identity] = [await site.payer(50), await site.payer(70), newEmail()];
      const race = await Promise.all([
        authorize(payer.id, identity, {}, first),
        authorize(other.id, identity, {}, then),
      ]);
      expect(race.map(({ outcome }) => outcome).sort()).toEqual(["authorized", "taken"]);
    }
  });
});

describe("T60 what is kept of an identity", () => {
  it("is no plain value: not in storage, not in a log, an answer or an object's name", async () => {
    const logged: string[] = [];
    for (const method of ["log", "info", "warn", "error", "debug"] as const) {
      vi.spyOn(console, method).mockImplementation((...values) => void logged.push(JSON.stringify(values)));
    }
    const [payer, other] = [await site.payer(50), await site.payer(50)];
    const identities = [
      { type: "EMAIL", value: "secret.person@example.org" },
      { type: "PHONE", value: "+49 30 123 456 789" },
      { type: "API_KEY", value: "sk-of-the-app-0123456789" },
    ] as const;
    const answers: unknown[] = [];
    for (const one of identities) {
      const identity = normalIdentity(one.type, one.value) as NamedIdentity;
      answers.push(await authorize(payer.id, identity), await authorize(other.id, identity));
      answers.push(await (await as(one)).text(), await (await as(one, "/me")).text());
      answers.push(await (await as(one, "/charge", login, { method: "POST", body: "{}" })).text());
    }
    answers.push(await identitiesOf(payer.id));
    await evictAllDurableObjects();
    const dump = async (stub: DurableObjectStub<Envelope | EnvelopeDirectory>) =>
      runInDurableObject(stub, (_, { storage }) => {
        const tables = storage.sql.exec<{ name: string }>(
          "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'",
        );
        return tables
          .toArray()
          .map(({ name }) => JSON.stringify(storage.sql.exec(`SELECT * FROM "${name}"`).toArray()));
      });
    const directories = await listDurableObjectIds(env.ENVELOPE_DIRECTORY);
    const dumps = await Promise.all([
      dump(env.ENVELOPE.getByName(payer.id)),
      ...directories.map((id) => dump(env.ENVELOPE_DIRECTORY.get(id))),
    ]);
    const all = JSON.stringify([dumps, logged, answers]).toLowerCase();
    const [hash = ""] = identityName(keysOf(env).identity, {
      type: "EMAIL",
      value: "secret.person@example.org",
    }).hashes;
    expect(JSON.stringify(dumps)).toContain(hash);
    for (const plain of ["secret.person", "30123456789", "30 123", "sk-of-the-app"]) expect(all).not.toContain(plain);
  });
});
