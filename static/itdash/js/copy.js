/* Copies the text or the value of what data-copy selects. */
import { say } from "./toast.js";

export default button => {
  if (!navigator.clipboard) return void (button.hidden = true); // only pages over https or on localhost have one
  button.addEventListener("click", async () => {
    const from = document.querySelector(button.dataset.copy);
    await navigator.clipboard.writeText(from.value ?? from.textContent);
    say("Copied");
  });
};
