"use strict";
// The page reads without this: it only opens the block that a link points to.
function reveal() {
  var target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (var box = target; box; box = box.parentElement) {
    if (box.tagName === "DETAILS") box.open = true;
  }
  target.scrollIntoView();
  var summary = target.querySelector("summary");
  if (summary) summary.focus({ preventScroll: true });
}
addEventListener("hashchange", reveal);
if (location.hash) reveal();
