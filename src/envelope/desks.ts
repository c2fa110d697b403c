/**
 * The half of an envelope that a plain charge does not need, a desk for each matter. A desk is loaded when it is first asked for;
 * one whose rules count in the turn of a charge is open before that turn begins (docs/architecture.md).
 */
import type { AlertsDesk } from "./alerts-desk.js";
import type { GivingDesk } from "./giving-desk.js";
import type { HolderDesk } from "./holder-desk.js";
import type { HoldsDesk } from "./holds-desk.js";
import type { LoginsDesk } from "./logins-desk.js";
import type { LotsDesk } from "./lots-desk.js";
import type { MetersDesk } from "./meters-desk.js";
import type { MirrorDesk } from "./mirror-desk.js";
import type { Office } from "./office.js";
import type { OwnersDesk } from "./owners-desk.js";
import type { PaymentsDesk } from "./payments-desk.js";
import type { RotationDesk } from "./rotation-desk.js";
import type { SpenderDesk } from "./spender-desk.js";
import type { TopUpDesk } from "./topup-desk.js";
import type { UsageDesk } from "./usage-desk.js";
import type { WindowsDesk } from "./windows-desk.js";

interface All {
  readonly holder: HolderDesk;
  readonly holds: HoldsDesk;
  readonly payments: PaymentsDesk;
  readonly giving: GivingDesk;
  readonly rotation: RotationDesk;
  readonly logins: LoginsDesk;
  readonly lots: LotsDesk;
  readonly topups: TopUpDesk;
  readonly owners: OwnersDesk;
  readonly mirror: MirrorDesk;
  readonly meters: MetersDesk;
  readonly alerts: AlertsDesk;
  readonly usage: UsageDesk;
  readonly windows: WindowsDesk;
  readonly spenders: SpenderDesk;
}

const LOAD: { readonly [Name in keyof All]: (office: Office) => Promise<All[Name]> } = {
  holder: async (office) => new (await import("./holder-desk.js")).HolderDesk(office),
  holds: async (office) => new (await import("./holds-desk.js")).HoldsDesk(office),
  payments: async (office) => new (await import("./payments-desk.js")).PaymentsDesk(office),
  giving: async (office) => {
    const [{ GivingDesk }, lots] = await Promise.all([import("./giving-desk.js"), office.desks.ask("lots")]);
    return new GivingDesk(office, lots);
  },
  rotation: async (office) => new (await import("./rotation-desk.js")).RotationDesk(office),
  logins: async (office) => new (await import("./logins-desk.js")).LoginsDesk(office),
  lots: async (office) => new (await import("./lots-desk.js")).LotsDesk(office),
  topups: async (office) => new (await import("./topup-desk.js")).TopUpDesk(office),
  owners: async (office) => new (await import("./owners-desk.js")).OwnersDesk(office),
  meters: async (office) => {
    const [{ MetersDesk }, holds] = await Promise.all([import("./meters-desk.js"), office.desks.ask("holds")]);
    return new MetersDesk(office, holds);
  },
  mirror: async (office) => new (await import("./mirror-desk.js")).MirrorDesk(office),
  alerts: async (office) => new (await import("./alerts-desk.js")).AlertsDesk(office),
  usage: async (office) => new (await import("./usage-desk.js")).UsageDesk(office),
  windows: async (office) => new (await import("./windows-desk.js")).WindowsDesk(office),
  spenders: async (office) => new (await import("./spender-desk.js")).SpenderDesk(office),
};

export class Desks {
  /** Those that are loaded: all that a turn of the envelope may use. */
  readonly open: { -readonly [Name in keyof All]?: All[Name] } = {};
  readonly #office: Office;
  readonly #opening: { [Name in keyof All]?: Promise<All[Name]> } = {};

  constructor(office: Office) {
    this.#office = office;
  }

  /** Opens a desk, once. Await it first and act then: between what is read and what is written there is no await. */
  ask<Name extends keyof All>(name: Name): Promise<All[Name]> {
    const asked: Promise<All[Name]> | undefined = this.#opening[name];
    if (asked !== undefined) return asked;
    const opening = LOAD[name](this.#office).then(
      (desk) => {
        this.open[name] = desk;
        return desk;
      },
      (error) => {
        delete this.#opening[name];
        throw error;
      },
    );
    (this.#opening as { [One in Name]?: Promise<All[One]> })[name] = opening;
    return opening;
  }

  /** On waking, before anything else: what was written by an earlier version, and the desks that a charge needs here. */
  async wake(): Promise<void> {
    const { store } = this.#office;
    if (store.isOutdated) (await import("./founding.js")).bringUpToDate(store, Date.now());
    await Promise.all(store.desks.map((name) => this.ask(name)));
  }
}
