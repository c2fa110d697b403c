/** Who may use the envelope, beyond whoever holds its token: login by payment and its limited sessions. */
import type {
  AdmitInput,
  AdmitOutcome,
  BearInput,
  KeepCardInput,
  LimitedCredential,
  LimitedSessionView,
  LoginOutcome,
  ReturnedInput,
  ReturnedOutcome,
  ShutInput,
  ShutOutcome,
  Undo,
} from "../contract.js";
import { found } from "./founding.js";
import { decideAdmission, decideLogin, judgeLimited, standingOf, undoOf } from "./logins.js";
import { LoginsBook } from "./logins-book.js";
import type { Office } from "./office.js";
import { PaymentsBook } from "./payments-book.js";
import type { Store } from "./store.js";

export class LoginsDesk {
  readonly #office: Office;
  readonly #store: Store;
  readonly #logins: LoginsBook;
  readonly #payments: PaymentsBook;

  constructor(office: Office) {
    this.#office = office;
    this.#store = office.store;
    this.#logins = new LoginsBook(office.store);
    this.#payments = new PaymentsBook(office.store);
  }

  /** In the turn of whatever the credential is presented for. */
  judge(credential: LimitedCredential, now: number): "limited" | "revoked" {
    return judgeLimited(this.#logins.limitedSession(credential.key_id), credential, now);
  }

  sessions(now: number): readonly LimitedSessionView[] {
    return this.#logins.limitedSessions(now);
  }

  async returned(input: ReturnedInput): Promise<ReturnedOutcome> {
    const { payment_id, card, credential } = input;
    const now = Date.now();
    const known = this.#logins.paymentLogin(payment_id);
    const outcome = standingOf(this.#payments.paymentFile(payment_id), known);
    // The card is noted even if nothing is made of it, so that a dispute of this payment stops it everywhere.
    if (known === undefined && outcome === "open" && this.#store.exists) {
      this.#logins.filePaymentLogin(payment_id, card, undefined, now);
    }
    return { outcome, holder: credential !== undefined && this.#office.holds(credential, now) };
  }

  async keepCard(input: KeepCardInput): Promise<LoginOutcome> {
    if (!this.#office.holds(input.credential, Date.now())) return { outcome: "refused" };
    return this.#login(input.payment_id, input.card, "kept");
  }

  async keeps({ cards }: { readonly cards: readonly string[] }): Promise<boolean> {
    return this.#logins.keepsCard(cards);
  }

  async bear(input: BearInput): Promise<LoginOutcome> {
    return this.#login(input.payment_id, input.card, input.session);
  }

  async shut(input: ShutInput): Promise<ShutOutcome> {
    const { payment_id, currency, cards, credential } = input;
    const now = Date.now();
    if (credential !== undefined && this.#office.holds(credential, now)) return { outcome: "holder" };
    // Also before the payment is booked here: whoever waits for that must find it shut.
    this.#store.transaction(() => {
      found(this.#store, this.#office.name, currency, now);
      this.#logins.shutPaymentLogin(payment_id, cards[0] ?? "", now);
    });
    return { outcome: "shut", undo: this.undo(payment_id) ?? { sessions: [], card: null } };
  }

  async mistaken(input: {
    readonly payment_id: string;
    readonly card: string;
    readonly currency: string;
  }): Promise<void> {
    const { payment_id, card, currency } = input;
    const now = Date.now();
    this.#store.transaction(() => {
      found(this.#store, this.#office.name, currency, now);
      this.#logins.countMistake(payment_id, card, now);
    });
  }

  async admit(input: AdmitInput): Promise<AdmitOutcome> {
    const now = Date.now();
    const decision = decideAdmission(
      this.#logins.limitedSession(input.key_id),
      this.#logins.keepsCard(input.cards),
      input,
      now,
    );
    if ("outcome" in decision) return decision;
    this.#store.transaction(() => {
      this.#logins.rehashCard(input.cards);
      this.#logins.fileLimited(input, decision.expires_at_ms, now);
    });
    return { outcome: "admitted", expires_at_ms: decision.expires_at_ms };
  }

  async endLimited(input: { readonly key_id: string }): Promise<void> {
    if (this.#store.exists) this.#logins.endLimited(input.key_id, Date.now());
  }

  #login(payment_id: string, card: string, use: BearInput["session"] | "kept"): LoginOutcome {
    const known = this.#logins.paymentLogin(payment_id);
    const outcome = decideLogin(this.#payments.paymentFile(payment_id), known, use);
    if (outcome === "done") this.#logins.filePaymentLogin(payment_id, card, use, Date.now());
    return { outcome };
  }

  undo(payment_id: string): Undo | undefined {
    const login = this.#logins.paymentLogin(payment_id);
    if (login === undefined) return undefined;
    return undoOf(this.#payments.paymentFile(payment_id), login, this.#logins.keepsCard([login.card]));
  }
}
