-- How steep the response to more and more of a direction is, where it saturates, and at which dose too little of the model is left.
from steering_slopes order by all
