/** A span of time in words: `7 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  // The server's clock may be ahead of the browser's.
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) {
    return `${whole} s`;
  }
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${minutes} min ${whole % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A time as the user's locale writes it, with the date if it is not today. */
export function moment(seconds: number, now: Date = new Date()): string {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === now.toDateString();
  const time: Intl.DateTimeFormatOptions = {
    hour: '2-digit',
    minute: '2-digit'
  };
  return date.toLocaleString(
    undefined,
    isToday ? time : { ...time, day: 'numeric', month: 'short' }
  );
}
