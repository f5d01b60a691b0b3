/** The page: its parts are put together here, and begun. */
import { begin as beginBanners } from "./banners.js";
import { begin as beginKeys } from "./keys.js";
import { begin as beginLive } from "./live.js";
import { begin as beginRoutes } from "./router.js";
import { tick } from "./time.js";
import { showOverview } from "./views/overview.js";
import { showRuntime } from "./views/runtime.js";
import { showRuntimes } from "./views/runtimes.js";
import { showSupervision } from "./views/supervision.js";

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // what stands behind the # is the view
  document.getElementById("main").focus();
});

beginBanners();
beginKeys();
beginLive(new AbortController().signal);
beginRoutes({
  "": { show: showOverview, part: "overview" },
  runtimes: { show: showRuntimes, part: "runtimes" },
  runtime: { show: showRuntime, part: "runtimes" },
  supervision: { show: showSupervision, part: "supervision" },
});
setInterval(tick, 1000);
