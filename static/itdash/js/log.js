/* Keeps a log at its newest line while it is followed; reading back lets go of it. */
const NEAR = 24;

export default view => {
  const button = view.closest(".log")?.querySelector("[data-follow]");
  const atEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < NEAR;
  let follows = true;
  const set = on => { follows = on; button.setAttribute("aria-pressed", on); if (on) view.scrollTop = view.scrollHeight; };

  if (!button) return void (view.scrollTop = view.scrollHeight); // nothing to follow by hand
  button.hidden = false;
  button.addEventListener("click", () => set(!follows));
  view.addEventListener("scroll", () => { if (follows !== atEnd()) set(atEnd()); });
  new MutationObserver(() => { if (follows) view.scrollTop = view.scrollHeight; }).observe(view, { childList: true, subtree: true });
  set(true);
};
