/**
 * Keys and identities that spend beside the holder: who is one and what limits it, in the turn of a charge; and how they are made,
 * listed and ended. Each change leaves its audit line in the transaction that makes it.
 */
import type { AuditedAction } from "../audit-rows.js";
import type {
  ActivateIdentityOutcome,
  AnyCredential,
  Author,
  EnvelopeApi,
  IdentityCredential,
  KeyCredential,
  ManagingRefusal,
  MintKeyInput,
  MintKeyOutcome,
  NoteIdentityInput,
  NoteIdentityOutcome,
  RefusalReason,
  RevokeSpenderInput,
  RevokeSpenderOutcome,
  Scope,
  SpenderSettings,
  SpendersInput,
  SpendersOutcome,
  SpenderView,
} from "../contract.js";
import { isSpender } from "./credentials.js";
import type { Headroom } from "./ledger.js";
import { pageLimit } from "./ledger-book.js";
import type { Office } from "./office.js";
import { OwnersBook } from "./owners.js";
import { SpenderBook } from "./spender-book.js";
import {
  allows,
  type Chain,
  decideMint,
  endedHeadroom,
  hasEnded,
  headrooms,
  judgeSpender,
  type Spender,
  sameSettings,
  standingOf,
  viewOf,
} from "./spenders.js";
import type { Store } from "./store.js";

type Input<Name extends keyof EnvelopeApi> = Parameters<EnvelopeApi[Name]>[0];

export class SpenderDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #book: SpenderBook;
  readonly #owners: OwnersBook;

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
    this.#book = new SpenderBook(office.store);
    this.#owners = new OwnersBook(office.store.sql);
  }

  #present(
    credential: KeyCredential | IdentityCredential,
    now: number,
  ): { readonly standing: ReturnType<typeof standingOf>; readonly chain: Chain | undefined } {
    const id = "api_key" in credential ? credential.api_key : credential.identity_id;
    const own = this.#store.exists ? this.#book.byId(id) : undefined;
    const chain = own && this.#book.chain(own);
    return { standing: judgeSpender(chain, credential, now), chain };
  }

  /** It and those it was made by, where it may do that; else why not. */
  admit(credential: KeyCredential | IdentityCredential, scope: Scope, now: number): Chain | RefusalReason {
    const { standing, chain } = this.#present(credential, now);
    if (chain === undefined || standing === "revoked") return "credential_revoked";
    if (standing === "expired") return "key_expired";
    return allows(chain, scope) ? chain : "key_scope";
  }

  /** Of who took a hold. */
  chainOf(spender_id: number): Chain | undefined {
    const spender = this.#book.byNumber(spender_id);
    return spender && this.#book.chain(spender);
  }

  /** What the limits of a spender, and of those it was made by, still admit. */
  limits(chain: Chain, now: number): readonly Headroom[] {
    const standing = standingOf(chain, now);
    if (standing !== "active") return [endedHeadroom(standing)];
    return headrooms(this.#book.drawings(chain, now), this.#store.timeOf(now));
  }

  view(chain: Chain, now: number): SpenderView {
    return viewOf(chain, this.#book.drawings(chain, now), this.#store.timeOf(now), now);
  }

  async mintKey(input: MintKeyInput): Promise<MintKeyOutcome> {
    const now = Date.now();
    const { id, hash, last4, by } = input;
    const key = `mint-key:${input.key}`;
    if (!this.#store.exists) return { outcome: "unfunded" };
    const manager = this.#manager(input.credential, now);
    if ("outcome" in manager) return manager;
    if (this.#owners.done(key) !== undefined) {
      // The very same secret: its answer was lost on the way, and whoever asks still has it.
      const same = this.#book.byId(id);
      return same?.hash === hash ? { outcome: "minted", spender: this.#viewOf(same, now) } : { outcome: "replayed" };
    }
    const decision = decideMint(manager.maker, this.#standing(this.#book.livingKeys(now)), input, now);
    if ("outcome" in decision) return decision.outcome;
    const spender = this.#store.transaction(() => {
      const filed = this.#book.file({
        ...decision.file,
        public_id: id,
        kind: "API_KEY",
        minted: true,
        hash,
        last4,
        shard: null,
        maker_id: manager.maker?.[0].spender_id ?? null,
        at_ms: now,
        activated_at_ms: now,
      });
      this.#audit(by, { action: "mint-key", before: null, after: accountOf(filed), key }, now);
      return filed;
    });
    return { outcome: "minted", spender: this.#viewOf(spender, now) };
  }

  async spenders({ credential, ...page }: SpendersInput): Promise<SpendersOutcome> {
    const now = Date.now();
    if (!this.#store.exists) return { outcome: "ok", spenders: [] };
    const manager = this.#manager(credential, now);
    if ("outcome" in manager) return manager;
    const found = this.#book.list({ ...page, limit: pageLimit(page.limit) }, manager.maker?.[0]);
    return {
      outcome: "ok",
      spenders: found.map((one) => ({ ...this.#viewOf(one, now), number: one.spender_id })),
    };
  }

  async revokeSpender({ id, minted, by, credential }: RevokeSpenderInput): Promise<RevokeSpenderOutcome> {
    const now = Date.now();
    if (!this.#store.exists) return { outcome: "unknown" };
    const manager = this.#manager(credential, now);
    if ("outcome" in manager) return manager;
    const own = this.#book.byId(id);
    if (own === undefined || own.minted !== minted || !this.#isBelow(own, manager.maker)) return { outcome: "unknown" };
    const spender = own.revoked_at_ms === null ? this.#revoke(own, by, now) : own;
    return { outcome: "revoked", spender: this.#viewOf(spender, now), shard: spender.shard };
  }

  #revoke(spender: Spender, by: Author, now: number): Spender {
    return this.#store.transaction(() => {
      const { status } = this.#viewOf(spender, now);
      const revoked = this.#book.revoke(spender, now);
      const action = spender.minted ? "revoke-key" : "revoke-identity";
      const after = { id: spender.public_id, status: "revoked" };
      this.#audit(by, { action, before: { id: spender.public_id, status }, after }, now);
      return revoked;
    });
  }

  async noteIdentity(input: NoteIdentityInput): Promise<NoteIdentityOutcome> {
    const now = Date.now();
    const { hashes, known_as, identity_id, kind, shard } = input;
    if (!this.#store.exists) return { outcome: "unknown" };
    const known = this.#known(hashes, known_as, now);
    const done = this.#owners.done(authorizeKey(input.key)) as { readonly id: string } | undefined;
    if (done !== undefined && done.id !== known?.public_id) return { outcome: "key_used" };
    // The rules for a key that the owner makes are an identity's too.
    const decision = decideMint(undefined, this.#standing(0), input, now);
    if ("outcome" in decision) return { outcome: "invalid", detail: decision.outcome.detail };
    if (known !== undefined && known.activated_at_ms !== null) {
      const outcome = sameSettings(known, decision.file) ? "found" : "differs";
      return { outcome, spender: this.#viewOf(known, now) };
    }
    const noted = this.#store.transaction(() =>
      known === undefined
        ? this.#book.file({
            ...decision.file,
            public_id: identity_id,
            kind,
            minted: false,
            hash: hashes[0] ?? "",
            last4: null,
            shard,
            maker_id: null,
            at_ms: now,
            activated_at_ms: null,
          })
        : this.#book.resettle(known, decision.file),
    );
    return { outcome: "noted", identity_id: noted.public_id };
  }

  /** An identity that is noted or authorised here: one that expired is not, and will not be again. */
  #known(hashes: readonly string[], known_as: string | undefined, now: number): Spender | undefined {
    const found = this.#book.byHash(hashes) ?? (known_as === undefined ? undefined : this.#book.byId(known_as));
    if (found === undefined || found.minted || found.revoked_at_ms !== null) return undefined;
    if (this.#over(found, now)) return undefined;
    const [newest] = hashes;
    if (newest !== undefined && found.hash !== newest) this.#book.rehash(found, newest);
    return found;
  }

  /** Makes an end of what has expired, so that it has ended whatever the clock does. */
  #over(spender: Spender, now: number): boolean {
    if (spender.expires_at_ms === null || spender.expires_at_ms > now) return false;
    this.#book.revoke(spender, now);
    return true;
  }

  async activateIdentity(input: Input<"activateIdentity">): Promise<ActivateIdentityOutcome> {
    const now = Date.now();
    const { identity_id, by } = input;
    const noted = this.#store.exists ? this.#book.byId(identity_id) : undefined;
    if (noted === undefined || noted.minted || hasEnded(noted) || this.#over(noted, now)) return { outcome: "ended" };
    const asked = this.#asked(input, now);
    if (noted.activated_at_ms !== null) {
      const outcome = asked === undefined || sameSettings(noted, asked) ? "authorized" : "differs";
      return { outcome, spender: this.#viewOf(noted, now) };
    }
    const key = authorizeKey(input.key);
    if (this.#owners.done(key) !== undefined) {
      this.#book.drop(noted);
      return { outcome: "key_used" };
    }
    const active = this.#store.transaction(() => {
      const activated = this.#book.activate(asked === undefined ? noted : this.#book.resettle(noted, asked), now);
      this.#audit(by, { action: "authorize", before: null, after: accountOf(activated), key }, now);
      return activated;
    });
    return { outcome: "authorized", spender: this.#viewOf(active, now) };
  }

  /** An earlier version of the code says nothing of settings: then those count that were noted. */
  #asked(
    { scopes, name = null, cap_micros = null, windows = [], expires_at_ms = null }: Partial<SpenderSettings>,
    now: number,
  ) {
    if (scopes === undefined) return undefined;
    const decision = decideMint(
      undefined,
      this.#standing(0),
      { scopes, name, cap_micros, windows, expires_at_ms },
      now,
    );
    return "file" in decision ? decision.file : undefined;
  }

  async dropIdentity({ identity_id }: { readonly identity_id: string }): Promise<void> {
    const noted = this.#store.exists ? this.#book.byId(identity_id) : undefined;
    if (noted !== undefined && !noted.minted && noted.activated_at_ms === null) this.#book.drop(noted);
  }

  async endIdentity({ identity_id }: { readonly identity_id: string }): Promise<{ readonly ended: boolean }> {
    const found = this.#store.exists ? this.#book.byId(identity_id) : undefined;
    return { ended: found === undefined || found.minted || hasEnded(found) || this.#over(found, Date.now()) };
  }

  #standing(living: number) {
    return { living, time_zone: this.#store.named.time_zone };
  }

  /** Who manages keys: a key only those it made, and itself. */
  #manager(
    credential: AnyCredential | undefined,
    now: number,
  ): { readonly maker: Chain | undefined } | ManagingRefusal {
    if (credential === undefined) return { maker: undefined };
    if ("key_id" in credential) {
      return { outcome: "forbidden", detail: "A session that a payment opened may spend, and nothing else" };
    }
    if (!isSpender(credential)) {
      // One that is on its way out could make itself a key that stays.
      return this.#office.holds(credential, now) ? { maker: undefined } : { outcome: "unauthorized" };
    }
    const admitted = this.admit(credential, "keys", now);
    if (admitted === "credential_revoked") return { outcome: "unauthorized" };
    if (typeof admitted === "string")
      return { outcome: "forbidden", detail: "This key has expired, or not the scope keys" };
    return { maker: admitted };
  }

  #isBelow(spender: Spender, maker: Chain | undefined): boolean {
    if (maker === undefined) return true;
    return this.#book.chain(spender).some(({ spender_id }) => spender_id === maker[0].spender_id);
  }

  #viewOf(spender: Spender, now: number): SpenderView {
    return this.view(this.#book.chain(spender), now);
  }

  #audit(by: Author, action: AuditedAction, now: number): void {
    this.#owners.audit(by, action, now);
  }
}

const authorizeKey = (key: string): string => `authorize:${key}`;

/** For the audit, which is kept for ever: no name, which may be a person's, and nothing of the secret. */
function accountOf({ public_id: id, kind, scopes, cap_micros, expires_at_ms }: Spender): unknown {
  return { id, kind, scopes, cap_micros, expires_at_ms };
}
