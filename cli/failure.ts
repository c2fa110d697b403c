/** What stops a command: a sentence for the person, a code for a machine, and the exit status. Never holds a secret. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly code: string;
  /** 2: the command line is wrong, and nothing was done. 1: anything else. */
  readonly exit: 1 | 2;

  constructor(code: string, message: string, exit: 1 | 2 = 1) {
    super(message);
    this.code = code;
    this.exit = exit;
  }
}

export function usage(message: string): Failure {
  return new Failure("usage", message, 2);
}
