# ---
# description: How long a task waits, by how busy the workers are.
# ---

# %% [markdown]
# # How long is the line
#
# A task waits in a queue. See [work queue](../patterns/work-queue.md#what-is-proven).[^little]
#
# [^little]: J. D. C. Little, 1961. [References](../references.md#little-1961).
#
# ## Try

# %%
import matplotlib.pyplot as plt
import simpy

env = simpy.Environment()
print("hello there", env.now)
assert env.now == 0

# %%
fig, ax = plt.subplots()
ax.plot([0.1, 0.5, 0.9], [0.1, 1, 9], marker="o", label="one worker")
ax.plot([0.1, 0.5, 0.9], [0.1, 0.4, 3], "--", label="ten workers")
ax.set_xlabel("busy, share of the time")
ax.set_ylabel("mean wait, s")
ax.legend()
fig.set_label("The wait rises from 1 second at half load to 9 at nine tenths.")
