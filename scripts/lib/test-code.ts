/** For its effect: the tests' own code is written for bundlers, which find `./x.ts` under the name of `./x.js`. Node has to be told. */
import { registerHooks } from "node:module";

registerHooks({
  resolve: (specifier, context, next) => {
    const isShared = context.parentURL?.includes("/test/stripe/") === true && specifier.startsWith("./");
    return next(isShared ? specifier.replace(/\.js$/, ".ts") : specifier, context);
  },
});
