/* Lets the time since data-since tick. */
const words = seconds => {
  const two = number => String(number).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  return `${Math.floor(seconds / 3600)}h ${two(Math.floor((seconds % 3600) / 60))}m`;
};

export default element => {
  const since = Date.parse(element.dataset.since);
  const timer = setInterval(() => {
    if (!element.isConnected) return clearInterval(timer);
    element.textContent = words(Math.max(0, Math.floor((Date.now() - since) / 1000)));
  }, 1000);
};
