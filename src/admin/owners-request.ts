/** What the owner's paths get to see of a request, and what they need of the house: the wrapper fills it in. */
import type { KeyCredential } from "../contract.js";
import type { Currency } from "../money.js";
import type { ResolvedOptions } from "../options.js";
import type { Keys } from "../settings.js";

export interface Asked {
  readonly request: Request;
  readonly url: URL;
  readonly env: unknown;
  readonly options: ResolvedOptions<unknown>;
  readonly currency: Currency;
  readonly keys: Keys;
}

/** Who the owner is on this request. */
export interface Owner {
  /** `owner` for the secret, `access:<subject>` for Cloudflare Access. */
  readonly actor: string;
  /** May look and not change. */
  readonly readOnly: boolean;
}

/** An owner's request to one of the paths below `options.paths.admin`. */
export interface OwnersRequest extends Asked {
  readonly owner: Owner;
  /** `options.paths.admin` */
  readonly base: string;
  /** Makes a token for an envelope; the envelope gives it its generation. */
  readonly newToken: (envelopeId: string) => NewToken;
  /** Whose key of ours a text is; `undefined` for what is none. Whether it still counts its envelope says. */
  readonly readKey: (text: string) => PresentedKey | undefined;
}

export interface PresentedKey {
  readonly envelope_id: string;
  readonly credential: KeyCredential;
}

export interface NewToken {
  /** What the envelope may know of it. */
  readonly hash: string;
  write(generation: number): string;
}
