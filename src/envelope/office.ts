/** What all of an envelope works with: its rows, its alarm, its name, and who may use it. Whatever writes an entry arms the mirror. */
import type {
  Alerted,
  AlertRules,
  AnyCredential,
  ArchivePage,
  Asked,
  Credential,
  LimitedCredential,
  Refusal,
  RefusalReason,
  Scope,
} from "../contract.js";
import { canTopUp } from "../limits.js";
import type { Micros } from "../money.js";
import { Bell } from "./bell.js";
import { isSpender, judge, type Standing } from "./credentials.js";
import { Desks } from "./desks.js";
import { GroupCommit } from "./group-commit.js";
import { type Account, type Draft, NOTHING, refusal } from "./ledger.js";
import type { Chain } from "./spenders.js";
import { Store } from "./store.js";
import type { TopUpDesk } from "./topup-desk.js";

/** How long a token stays valid once its successor was used: enough for requests under way in other tabs. */
const CREDENTIAL_GRACE_MS = 15 * 60_000;

export class Office {
  readonly env: Cloudflare.Env;
  readonly store: Store;
  readonly bell: Bell;
  readonly desks: Desks;
  readonly group: GroupCommit;
  readonly archive: (page: ArchivePage) => Promise<void>;
  readonly #id: DurableObjectId;
  /** What its holder begins with was given, or never will be. */
  #isWelcomed = false;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env, archive: (page: ArchivePage) => Promise<void>) {
    this.env = env;
    this.store = new Store(ctx.storage);
    this.bell = new Bell(ctx, env);
    this.desks = new Desks(this);
    this.group = new GroupCommit(() => ctx.storage.sync());
    this.archive = archive;
    this.#id = ctx.id;
  }

  get name(): string {
    // An object that is woken by its id alone is not told its name; it noted it.
    const name = this.#id.name ?? this.store.envelopeId();
    if (name === undefined) throw new Error("An Envelope is reached by name only: use getByName");
    return name;
  }

  /** Gives a caller that the Worker vouches for what they begin with: once, before the turn that may want to spend it. */
  async welcome({ sign_up, currency, credential }: Partial<Asked>): Promise<void> {
    if (this.#isWelcomed || sign_up === undefined || currency === undefined || credential !== undefined) return;
    await (await this.desks.ask("giving")).welcome(sign_up, currency);
    this.#isWelcomed = true;
  }

  append(draft: Draft, now: number): ReturnType<Store["append"]> {
    const entry = this.store.append(draft, now);
    this.bell.armMirror();
    return entry;
  }

  /** Several writes as one, and the alarm with them. Armed afterwards, because a roll-back takes an alarm back and not what the bell knows. */
  transaction<T>(work: () => T): T {
    const { seq } = this.store.head;
    const result = this.store.transaction(work);
    if (this.store.head.seq > seq) this.bell.armMirror();
    return result;
  }

  /** The outcome of a write, with what somebody is to be told of it. Where nothing was ever told or asked for, the desk is not open. */
  alerted<Outcome extends object>(outcome: Outcome, rules: AlertRules | undefined, now: number): Outcome & Alerted {
    const alerts = this.desks.open.alerts?.notice(rules, now) ?? NONE;
    return alerts.length === 0 ? outcome : { ...outcome, alerts };
  }

  /** The aggregate hears of what is in no entry with the next one: where none is waiting, the newest is sent once more. */
  tellMirror(): void {
    const { seq, mirrored_seq } = this.store.head;
    if (seq > 0 && mirrored_seq === seq) this.store.setMirrored(seq - 1);
    this.bell.armMirror();
  }

  /** A full credential that is not about to end: who is on the way out decides nothing any more. */
  holds(credential: Credential, now: number): boolean {
    const standing = this.present(credential, now);
    return standing === "first" || standing === "successor" || standing === "current";
  }

  /** Why the caller may not do that; else, of a key or an identity, it and those it was made by, and of the holder nothing. */
  caller(credential: AnyCredential | undefined, scope: Scope, now: number): RefusalReason | Chain | undefined {
    if (!isSpender(credential)) return this.present(credential, now) === "revoked" ? "credential_revoked" : undefined;
    // Where none was ever made, nobody is known by one.
    return this.desks.open.spenders?.admit(credential, scope, now) ?? "credential_revoked";
  }

  /**
   * As every turn begins that decides on money: what meters that nobody hears of any more owe is booked first. The account as it is to
   * the caller: what limits a key or an identity limits it besides.
   */
  account(chain: Chain | undefined, now: number, tag?: string): Account {
    this.desks.open.meters?.bookLapsed(now);
    const account = this.store.account(now, tag);
    if (chain === undefined) return account;
    const limits = this.desks.open.spenders?.limits(chain, now) ?? [];
    return { ...account, limits: [...(account.limits ?? []), ...limits] };
  }

  /** Nothing about the envelope is told to who may not spend from it at all. */
  turnAway(reason: RefusalReason, price: Micros, now: number) {
    this.#countRefusal(reason);
    return { outcome: "refused", refusal: refusal(this.store.account(now), reason, price), ...NOTHING } as const;
  }

  /**
   * After a decision: a refusal is counted, and a low balance may be topped up; also for the sake of a price that was refused, if
   * paying would lift that. Where no card was ever saved, its desk is not open.
   */
  lookAfter(
    asked: Parameters<TopUpDesk["topUpIfLow"]>[0] & { readonly amount_micros: Micros },
    answer: { readonly outcome: string; readonly refusal?: Refusal } | undefined,
    now: number,
  ): void {
    const refused = answer?.outcome === "refused" ? answer.refusal?.reason : undefined;
    if (refused !== undefined) this.#countRefusal(refused);
    const lacking = refused !== undefined && canTopUp(refused) ? asked.amount_micros : undefined;
    this.desks.open.topups?.topUpIfLow(asked, lacking, now);
  }

  /** Judges a credential, and notes its first use. A caller that the Worker vouches for has none. Nothing is noted where nothing was paid. */
  present(credential: Credential | LimitedCredential | undefined, now: number): Standing | "limited" {
    if (credential === undefined) return "current";
    // Who was never let in needs no desk to be turned away.
    if ("key_id" in credential) return this.desks.open.logins?.judge(credential, now) ?? "revoked";
    const { store } = this;
    const standing = judge(store.credentials, credential, now);
    if (!store.exists) return standing;
    if (standing === "first") store.transaction(() => store.fileCredential(credential, now, now));
    if (standing === "successor") {
      store.transaction(() => {
        store.useSuccessor(credential.generation, CREDENTIAL_GRACE_MS, now);
        // Once more: until now the old token could let others in.
        store.closeLogins(now);
      });
    }
    return standing;
  }

  #countRefusal(reason: RefusalReason): void {
    if (this.store.exists) this.bell.countRefusal(reason);
  }
}

const NONE: readonly never[] = [];
